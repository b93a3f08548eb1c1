#include "imagefs/registry/remote_image.h"

#include <fmt/core.h>

#include "imagefs/oci/json.h"

namespace drupe::imagefs::registry {
namespace {

using oci::BlobKind;
using oci::kind_of;

constexpr const char* kAccept =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

struct Document {
    std::string text;
    std::string media_type;
    Digest digest;
};

/// Its own word for what it is has to agree with the server's: a document that can be read as an
/// index and as a manifest would mean one thing here and another elsewhere (CVE-2021-41190).
Result<std::string> media_type_of(const Response& response, const std::string& text) {
    TRY_ASSIGN(const oci::Json json, oci::parse_json(text, "manifest"));
    TRY_ASSIGN(const auto own, oci::string_member(json, "mediaType"));
    std::string said(response.headers.get("Content-Type"));
    said = said.substr(0, said.find_first_of("; "));
    const auto is_known = [](const std::string& type) {
        return kind_of(type) == BlobKind::kIndex || kind_of(type) == BlobKind::kManifest;
    };
    if (own && is_known(said) && *own != said) {
        return Error{ErrorCode::kInvalid,
                     fmt::format("the manifest says that it is {}, the registry that it is {}",
                                 presentable(*own), said)};
    }
    const std::string type = own.value_or(said);
    if (!is_known(type)) {
        return Error{ErrorCode::kUnsupported,
                     fmt::format("manifests of type '{}' can't be read", presentable(type))};
    }
    if ((kind_of(type) == BlobKind::kIndex) != json.contains("manifests") ||
        (kind_of(type) == BlobKind::kManifest) != json.contains("layers")) {
        return Error{ErrorCode::kInvalid, "the manifest isn't of the type that it says it is"};
    }
    return type;
}

Result<Document> fetch_from(Repository& repository, HttpClient& http, const std::string& name,
                            const std::optional<Digest>& digest) {
    Request request;
    request.url = repository.url("manifests/" + name);
    request.headers.add("Accept", kAccept);
    TRY_ASSIGN(Response response, repository.send_again(http, request));
    if (!response.ok()) return status_error(response, "manifest " + name);
    Document document;
    TRY_ASSIGN(document.text, read_document(response));
    document.digest = sha256(document.text);
    const auto claimed = Digest::parse(response.headers.get("Docker-Content-Digest"));
    if ((digest && document.digest != *digest) || (claimed && document.digest != claimed.value())) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("manifest {} of {}/{}: its content doesn't match its digest", name,
                                 repository.where(), repository.name())};
    }
    TRY_ASSIGN(document.media_type, media_type_of(response, document.text));
    return document;
}

/// From the first repository that has it. The last one's error counts: it is the registry itself.
Result<Document> fetch(const Repositories& from, HttpClient& http, const std::string& name,
                       const std::optional<Digest>& digest) {
    for (size_t i = 0; i + 1 < from.size(); ++i) {
        auto document = fetch_from(*from[i], http, name, digest);
        if (document) return document;
    }
    return fetch_from(*from.back(), http, name, digest);
}

}  // namespace

Result<RemoteImage> resolve(const Repositories& from, HttpClient& http,
                            const oci::Reference& reference) {
    const std::string name = reference.digest ? reference.digest->to_string() : reference.tag;
    TRY_ASSIGN(Document document, fetch(from, http, name, reference.digest));
    RemoteImage image;
    image.digest = document.digest;
    for (int depth = 0; kind_of(document.media_type) == BlobKind::kIndex; ++depth) {
        if (depth == oci::kMaxIndexDepth) {
            return Error{ErrorCode::kLimit, "image indexes nested deeper than 4"};
        }
        TRY_ASSIGN(const oci::Index index, oci::Index::parse(document.text));
        TRY_ASSIGN(const oci::Descriptor chosen, oci::choose_manifest(index));
        TRY_ASSIGN(document, fetch(from, http, chosen.digest.to_string(), chosen.digest));
        if (document.text.size() != chosen.size) {
            return Error{ErrorCode::kCorrupt,
                         fmt::format("manifest {} has {} bytes, but should have {}",
                                     chosen.digest.to_string(), document.text.size(), chosen.size)};
        }
    }
    image.manifest_digest = document.digest;
    image.manifest_media_type = document.media_type;
    TRY_ASSIGN(image.manifest, oci::Manifest::parse(document.text));
    image.manifest_text = std::move(document.text);
    TRY_ASSIGN(std::string config, read_small_blob(from, http, image.manifest.config));
    TRY_ASSIGN(image.config, oci::ImageConfig::parse(std::move(config)));
    TRY(oci::check_config(image.config, image.manifest.layers.size()));
    return image;
}

}  // namespace drupe::imagefs::registry
