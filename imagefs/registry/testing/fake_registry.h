#pragma once

#include <map>
#include <memory>
#include <string>

#include "imagefs/registry/repository.h"
#include "imagefs/registry/testing/fake_server.h"
#include "imagefs/store/digest.h"

namespace drupe::imagefs::registry::testing {

/// A registry of one repository, "app", that does all as it should unless a test interferes.
class FakeRegistry {
  public:
    /// Looks at each request first; nullopt: as it should be.
    using Interfere = std::function<std::optional<Reply>(const SeenRequest&)>;
    explicit FakeRegistry(Interfere interfere = {});

    Digest add_blob(const std::string& bytes);
    Digest add_manifest(const std::string& name, const std::string& type, const std::string& text);
    /// An image of these tars, each gzipped; its manifest is `name`.
    Digest add_image(const std::string& name, const std::vector<std::string>& tars);
    /// The descriptor of a blob that was added, as a JSON object.
    [[nodiscard]] static std::string descriptor(const std::string& type, const Digest& digest,
                                                size_t size);

    [[nodiscard]] FakeServer& server() { return *server_; }
    [[nodiscard]] std::string blob(const Digest& digest) const;
    [[nodiscard]] std::string manifest(const std::string& name) const;
    /// How many GETs of blobs there were.
    [[nodiscard]] size_t blob_requests();

  private:
    struct Stored {
        std::string type;
        std::string text;
    };
    Reply handle(const SeenRequest& request);
    Reply get_blob(const SeenRequest& request, const std::string& digest) const;
    Reply upload(const SeenRequest& request);

    Interfere interfere_;
    std::map<std::string, std::string> blobs_;    ///< By "sha256:HEX".
    std::map<std::string, Stored> manifests_;     ///< By tag and by digest.
    std::map<std::string, std::string> uploads_;  ///< By number.
    std::unique_ptr<FakeServer> server_;
};

/// As fast as a test should be: short delays, short limits.
[[nodiscard]] Session fast_session(const std::string& folder);
[[nodiscard]] std::string gzip(const std::string& data);

}  // namespace drupe::imagefs::registry::testing
