#include "cli/tar_stream.h"

#include <unistd.h>

#include <cerrno>

#include "archive/pack.h"

namespace drupe::cli {

client::BodySource body_from(int fd) {
    return [fd](std::span<std::byte> out) -> Result<size_t> {
        for (;;) {
            const ssize_t n = ::read(fd, out.data(), out.size());
            if (n >= 0) return static_cast<size_t>(n);
            if (errno != EINTR) return os_error("read the archive");
        }
    };
}

Result<std::unique_ptr<PackedStream>> PackedStream::begin(const std::string& path,
                                                          const std::string& name) {
    auto stream = std::unique_ptr<PackedStream>(new PackedStream);
    TRY_ASSIGN(FdPair pipe, make_pipe());
    stream->tar_ = std::move(pipe.first);
    stream->packer_ = std::thread([stream = stream.get(), path, name,
                                   out = std::make_shared<Fd>(std::move(pipe.second))]() mutable {
        auto packed = archive::pack(path, name, out->get());
        if (packed) stream->bytes_ = packed.value();
        if (!packed) stream->error_ = packed.error();
        out.reset();
    });
    return stream;
}

PackedStream::~PackedStream() {
    tar_.reset();  // a packer that still writes gets EPIPE
    if (packer_.joinable()) packer_.join();
}

Status PackedStream::finish() {
    if (packer_.joinable()) packer_.join();
    return error_ ? Status(*error_) : ok();
}

client::BodySource PackedStream::source() {
    return [this, read = body_from(tar_.get())](std::span<std::byte> out) -> Result<size_t> {
        TRY_ASSIGN(const size_t size, read(out));
        if (size == 0) {
            TRY(finish());
        }
        return size;
    };
}

}  // namespace drupe::cli
