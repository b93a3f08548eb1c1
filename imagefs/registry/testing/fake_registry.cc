#include "imagefs/registry/testing/fake_registry.h"

#include <fmt/core.h>
#include <zlib.h>

#include <cstdlib>

#include "imagefs/store/sha256.h"

namespace drupe::imagefs::registry::testing {
namespace {

std::string after(std::string_view text, std::string_view prefix) {
    return text.starts_with(prefix) ? std::string(text.substr(prefix.size())) : std::string();
}

std::string parameter(const std::string& target, const std::string& name) {
    const size_t at = target.find(name + "=");
    if (at == std::string::npos) return {};
    std::string value = target.substr(at + name.size() + 1);
    value = value.substr(0, value.find('&'));
    const size_t colon = value.find("%3A");
    if (colon != std::string::npos) value.replace(colon, 3, ":");
    return value;
}

}  // namespace

FakeRegistry::FakeRegistry(Interfere interfere)
    : interfere_(std::move(interfere)),
      server_(std::make_unique<FakeServer>([this](const SeenRequest& request) {
          if (interfere_) {
              if (auto reply = interfere_(request)) return *reply;
          }
          return handle(request);
      })) {}

Digest FakeRegistry::add_blob(const std::string& bytes) {
    const Digest digest = sha256(bytes);
    blobs_[digest.to_string()] = bytes;
    return digest;
}

Digest FakeRegistry::add_manifest(const std::string& name, const std::string& type,
                                  const std::string& text) {
    const Digest digest = sha256(text);
    manifests_[name] = {type, text};
    manifests_[digest.to_string()] = {type, text};
    return digest;
}

std::string FakeRegistry::descriptor(const std::string& type, const Digest& digest, size_t size) {
    return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}}})", type, digest.to_string(),
                       size);
}

Digest FakeRegistry::add_image(const std::string& name, const std::vector<std::string>& tars) {
    std::string layers;
    std::string diff_ids;
    for (const std::string& tar : tars) {
        const std::string bytes = gzip(tar);
        const char* comma = layers.empty() ? "" : ",";
        layers += comma + descriptor("application/vnd.oci.image.layer.v1.tar+gzip", add_blob(bytes),
                                     bytes.size());
        diff_ids += fmt::format("{}\"{}\"", comma, sha256(tar).to_string());
    }
    const std::string config =
        fmt::format(R"({{"os":"linux","architecture":"amd64","config":{{"Cmd":["sh"]}},)"
                    R"("rootfs":{{"type":"layers","diff_ids":[{}]}}}})",
                    diff_ids);
    const std::string type = "application/vnd.oci.image.manifest.v1+json";
    return add_manifest(
        name, type,
        fmt::format(
            R"({{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}})", type,
            descriptor("application/vnd.oci.image.config.v1+json", add_blob(config), config.size()),
            layers));
}

std::string FakeRegistry::blob(const Digest& digest) const {
    const auto found = blobs_.find(digest.to_string());
    return found == blobs_.end() ? std::string() : found->second;
}
std::string FakeRegistry::manifest(const std::string& name) const {
    const auto found = manifests_.find(name);
    return found == manifests_.end() ? std::string() : found->second.text;
}

size_t FakeRegistry::blob_requests() {
    size_t count = 0;
    for (const SeenRequest& request : server_->seen()) {
        const bool blob = request.target.find("/blobs/sha256:") != std::string::npos;
        count += request.method == "GET" && blob ? 1 : 0;
    }
    return count;
}

Reply FakeRegistry::get_blob(const SeenRequest& request, const std::string& digest) const {
    const auto found = blobs_.find(digest);
    if (found == blobs_.end()) return {.status = 404};
    const std::string& bytes = found->second;
    const std::string range = after(request.headers.get("Range"), "bytes=");
    if (range.empty()) return {.body = bytes};
    const size_t first = std::strtoull(range.c_str(), nullptr, 10);
    Reply reply{.status = 206, .body = bytes.substr(first)};
    return reply.with("Content-Range",
                      fmt::format("bytes {}-{}/{}", first, bytes.size() - 1, bytes.size()));
}

Reply FakeRegistry::upload(const SeenRequest& request) {
    const std::string number =
        after(request.target.substr(0, request.target.find('?')), "/v2/app/blobs/uploads/");
    if (request.method == "POST") {
        const std::string mount = parameter(request.target, "mount");
        if (!mount.empty() && blobs_.contains(mount)) return {.status = 201};
        const std::string next = std::to_string(uploads_.size());
        uploads_[next] = "";
        // A Location may be relative, and have a query of its own.
        return Reply{.status = 202}.with("Location", "/v2/app/blobs/uploads/" + next + "?state=x");
    }
    if (!uploads_.contains(number)) return {.status = 404};
    uploads_[number] += request.body;
    if (request.method == "PATCH") {
        return Reply{.status = 202}.with("Location", "/v2/app/blobs/uploads/" + number);
    }
    const std::string digest = parameter(request.target, "digest");
    if (sha256(uploads_[number]).to_string() != digest) return {.status = 400};
    blobs_[digest] = uploads_[number];
    return Reply{.status = 201}.with("Docker-Content-Digest", digest);
}

Reply FakeRegistry::handle(const SeenRequest& request) {
    if (request.target == "/v2/") return {.body = "{}"};
    if (request.target.starts_with("/v2/app/blobs/uploads/")) return upload(request);
    const std::string digest = after(request.target, "/v2/app/blobs/");
    if (!digest.empty()) return get_blob(request, digest);
    const std::string name = after(request.target, "/v2/app/manifests/");
    if (!name.empty() && request.method == "PUT") {
        const Digest stored =
            add_manifest(name, std::string(request.headers.get("Content-Type")), request.body);
        return Reply{.status = 201}.with("Docker-Content-Digest", stored.to_string());
    }
    const auto found = manifests_.find(name);
    if (found == manifests_.end()) {
        return {.status = 404,
                .body = R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})"};
    }
    return Reply{.body = found->second.text}.with("Content-Type", found->second.type);
}

Session fast_session(const std::string& folder) {
    Session session{{}, CredentialFile(folder + "/docker/config.json"), {}, {}};
    session.limits.connect_ms = 5000;
    session.limits.head_ms = 2000;
    session.limits.idle_ms = 2000;
    session.limits.window_ms = 1000;
    session.limits.window_bytes = 1000;
    session.retry = {4, 1, 4, 20};
    return session;
}

std::string gzip(const std::string& data) {
    z_stream stream{};
    if (deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) std::abort();
    std::string out(deflateBound(&stream, data.size()) + 64, '\0');
    std::string input = data;
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) std::abort();
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

}  // namespace drupe::imagefs::registry::testing
