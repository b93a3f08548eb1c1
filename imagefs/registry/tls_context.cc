#include "imagefs/registry/tls_context.h"

#include <fmt/core.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <filesystem>

namespace drupe::imagefs::registry {
namespace {

namespace fs = std::filesystem;

Error tls_error(const std::string& path) {
    const unsigned long code = ERR_get_error();
    const char* reason = ERR_reason_error_string(code);
    return {ErrorCode::kInvalid,
            fmt::format("{}: {}", path, reason == nullptr ? "can't be used for TLS" : reason)};
}

/// *.crt are trusted; NAME.cert with NAME.key beside it is shown.
Status use_folder(SSL_CTX* context, const fs::path& folder) {
    std::error_code error;
    fs::directory_iterator it(folder, error);
    if (error == std::errc::no_such_file_or_directory) return ok();
    for (; !error && it != fs::directory_iterator(); it.increment(error)) {
        const std::string path = it->path().string();
        if (it->path().extension() == ".crt") {
            if (SSL_CTX_load_verify_locations(context, path.c_str(), nullptr) != 1) {
                return tls_error(path);
            }
        } else if (it->path().extension() == ".cert") {
            const std::string key = fs::path(path).replace_extension(".key").string();
            if (SSL_CTX_use_certificate_chain_file(context, path.c_str()) != 1) {
                return tls_error(path);
            }
            if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
                return tls_error(key);
            }
        }
    }
    if (error) return os_error("list " + folder.string(), error.value());
    return ok();
}

}  // namespace

Status set_up_tls(boost::asio::ssl::context& context, const std::string& authority,
                  const TlsOptions& options) {
    SSL_CTX* const native = context.native_handle();
    SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
    // A peer that just closes is told from an end by Content-Length and chunks.
    SSL_CTX_set_options(native, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_verify(native, options.verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
    SSL_CTX_set_default_verify_paths(native);
    for (const std::string& dir : options.certificate_dirs) {
        TRY(use_folder(native, fs::path(dir) / authority));
    }
    return ok();
}

}  // namespace drupe::imagefs::registry
