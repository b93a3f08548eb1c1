#include <bzlib.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "imagefs/oci/byte_sources.h"
#include "imagefs/oci/decompress.h"
#include "imagefs/oci/image_config.h"
#include "imagefs/oci/json.h"
#include "imagefs/oci/manifest.h"
#include "imagefs/oci/reference.h"

namespace drupe::imagefs::oci {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string canonical(std::string_view text) {
    const auto reference = Reference::parse(text);
    return reference ? reference.value().canonical() : reference.error().message;
}

TEST(Reference, ShortNamesMeanDockerHub) {
    EXPECT_EQ(canonical("alpine"), "docker.io/library/alpine:latest");
    EXPECT_EQ(canonical("alpine:3.19"), "docker.io/library/alpine:3.19");
    EXPECT_EQ(canonical("user/app"), "docker.io/user/app:latest");
    EXPECT_EQ(canonical("index.docker.io/alpine"), "docker.io/library/alpine:latest");
    EXPECT_EQ(canonical("localhost/app"), "localhost/app:latest");
    EXPECT_EQ(canonical("localhost:5000/a/b:t"), "localhost:5000/a/b:t");
    EXPECT_EQ(canonical("registry.example/a__b/c-d---e.f"),
              "registry.example/a__b/c-d---e.f:latest");
    EXPECT_EQ(canonical("alpine@" + kDigest), "docker.io/library/alpine@" + kDigest);
    EXPECT_EQ(canonical("alpine:1@" + kDigest), "docker.io/library/alpine:1@" + kDigest);
}

TEST(Reference, FamiliarIsWhatPeopleWrite) {
    EXPECT_EQ(Reference::parse("docker.io/library/alpine").value().familiar(), "alpine:latest");
    EXPECT_EQ(Reference::parse("docker.io/user/app:1").value().familiar(), "user/app:1");
    EXPECT_EQ(Reference::parse("r.example/library/app").value().familiar(),
              "r.example/library/app:latest");
}

TEST(Reference, MalformedOnesAreRefusedWithAReason) {
    for (const std::string& bad : {std::string(),
                                   std::string("Alpine"),
                                   std::string("a:"),
                                   std::string("a//b"),
                                   std::string("-a"),
                                   std::string("a-"),
                                   std::string("a___b"),
                                   std::string("a..b"),
                                   std::string("a/../b"),
                                   std::string("/a"),
                                   std::string("a/"),
                                   std::string("a:b c"),
                                   std::string("r.example:99x/a"),
                                   "a@" + std::string("sha256:12"),
                                   "a@" + std::string("md5"),
                                   std::string(64, 'a'),
                                   std::string(300, 'a'),
                                   "a:" + std::string(129, 't'),
                                   std::string("a\0b", 3),
                                   std::string("\xff")}) {
        EXPECT_THAT(canonical(bad), HasSubstr("not an image reference")) << bad;
    }
}

TEST(Json, HostileDocumentsAreRefused) {
    EXPECT_FALSE(parse_json("", "x"));
    EXPECT_FALSE(parse_json("3", "x"));
    EXPECT_FALSE(parse_json("{\"a\":\"\xff\"}", "x"));
    EXPECT_FALSE(parse_json("{\"a\":1} trailing", "x"));
    EXPECT_EQ(parse_json(std::string(100'000, '['), "x").error().code, ErrorCode::kLimit);
    EXPECT_EQ(parse_json(std::string(5 << 20, ' '), "x").error().code, ErrorCode::kLimit);
    EXPECT_THAT(parse_json(R"({"a":{"b":1,"b":2}})", "index").error().message,
                HasSubstr("index: the key 'b' occurs twice"));
    EXPECT_TRUE(parse_json(R"([{"a":1},{"a":1},{"x":{"a":2},"a":"[[[[\"{{"}])", "x"));
}

std::string descriptor(std::string_view type, std::string_view rest = "") {
    return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":10{}}})", type, kDigest, rest);
}
std::string manifest(const std::string& config, const std::string& layers) {
    return fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]}})", config, layers);
}
const std::string kOciConfig = descriptor("application/vnd.oci.image.config.v1+json");

TEST(Manifest, OciAndDockerTypesAreKnown) {
    const auto parsed = Manifest::parse(
        manifest(descriptor("application/vnd.docker.container.image.v1+json"),
                 descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip") + "," +
                     descriptor("application/vnd.oci.image.layer.v1.tar+zstd")));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(parsed.value().layers.size(), 2U);
    EXPECT_EQ(parsed.value().layers[1].digest.to_string(), kDigest);
}

TEST(Manifest, ForeignUnknownAndArtifactsAreUnsupported) {
    const auto refusal = [](const std::string& text) {
        const auto parsed = Manifest::parse(text);
        EXPECT_FALSE(parsed);
        if (parsed) return std::string("accepted");
        EXPECT_EQ(parsed.error().code, ErrorCode::kUnsupported) << parsed.error().message;
        return parsed.error().message;
    };
    EXPECT_THAT(refusal(manifest(kOciConfig, descriptor("application/vnd.docker.image.rootfs."
                                                        "foreign.diff.tar.gzip"))),
                HasSubstr("foreign layer"));
    EXPECT_THAT(refusal(manifest(kOciConfig, descriptor("application/vnd.oci.image.layer.v1.tar",
                                                        R"(,"urls":["http://x"])"))),
                HasSubstr("foreign layer"));
    EXPECT_THAT(refusal(manifest(kOciConfig, descriptor("text/plain"))), HasSubstr("text/plain"));
    EXPECT_THAT(refusal(manifest(descriptor("application/vnd.example+json"), "")),
                HasSubstr("not an image's"));
    EXPECT_THAT(refusal(R"({"schemaVersion":1,"name":"x"})"), HasSubstr("schemaVersion"));
}

TEST(Manifest, HugeNumbersWrongTypesAndBadDigestsAreRefused) {
    for (const std::string_view part :
         {R"({"mediaType":"m","digest":"sha256:zz","size":1})", R"({"digest":7,"size":1})",
          R"({"digest":"sha512:00","size":1})", R"([])", R"("text")", R"({})",
          R"({"digest":"sha256:aa","size":-1})"}) {
        EXPECT_FALSE(Manifest::parse(manifest(kOciConfig, std::string(part)))) << part;
    }
    for (const std::string_view size :
         {"-1", "1e3", "99999999999999999999999", "\"5\"", "18446744073709551615"}) {
        EXPECT_FALSE(Index::parse(fmt::format(
            R"({{"schemaVersion":2,"manifests":[{{"digest":"{}","size":{}}}]}})", kDigest, size)))
            << size;
    }
    std::string layers = descriptor("application/vnd.oci.image.layer.v1.tar");
    for (int i = 0; i < 600; ++i) {
        layers += "," + descriptor("application/vnd.oci.image.layer.v1.tar");
    }
    EXPECT_EQ(Manifest::parse(manifest(kOciConfig, layers)).error().code, ErrorCode::kLimit);
}

TEST(ImageConfig, KeepsAllThatDockerKeeps) {
    const std::string text = fmt::format(
        R"({{"os":"linux","architecture":"amd64","config":{{"User":"1000:1000","Env":["A=b"],)"
        R"("Entrypoint":["/e"],"Cmd":["c"],"WorkingDir":"/w","StopSignal":"SIGINT",)"
        R"("ExposedPorts":{{"80/tcp":{{}}}},"Volumes":{{"/v":{{}}}},"Labels":{{"l":"m"}},)"
        R"("Shell":["/bin/bash","-c"],"Healthcheck":{{"Test":["CMD","x"],"Interval":5,)"
        R"("Retries":3}}}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}})",
        kDigest);
    const auto parsed = ImageConfig::parse(text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    const ImageConfig& config = parsed.value();
    EXPECT_EQ(config.raw, text);
    EXPECT_EQ(config.user, "1000:1000");
    EXPECT_THAT(config.env, ElementsAre("A=b"));
    EXPECT_THAT(config.entrypoint, ElementsAre("/e"));
    EXPECT_EQ(config.working_dir, "/w");
    EXPECT_EQ(config.stop_signal, "SIGINT");
    EXPECT_THAT(config.exposed_ports, ElementsAre("80/tcp"));
    EXPECT_THAT(config.volumes, ElementsAre("/v"));
    EXPECT_THAT(config.labels, ElementsAre(testing::Pair("l", "m")));
    EXPECT_THAT(config.shell, ElementsAre("/bin/bash", "-c"));
    EXPECT_EQ(config.healthcheck.value().interval_ns, 5U);
}

TEST(ImageConfig, WhatWeMakeWeCanRead) {
    const Digest diff_id = Digest::parse(kDigest).value();
    const auto parsed = ImageConfig::parse(make_config(diff_id, {"PATH=/bin"}, {"sh"}, "built in"));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_THAT(parsed.value().diff_ids, ElementsAre(diff_id));
    EXPECT_THAT(parsed.value().cmd, ElementsAre("sh"));
    EXPECT_EQ(parsed.value().raw, make_config(diff_id, {"PATH=/bin"}, {"sh"}, "built in"));
}

TEST(ImageConfig, ZeroBytesInArgumentsAndMissingRootfsAreRefused) {
    EXPECT_FALSE(ImageConfig::parse(
        R"({"config":{"Cmd":["a\u0000b"]},"rootfs":{"type":"layers","diff_ids":[]}})"));
    EXPECT_FALSE(ImageConfig::parse("{}"));
    EXPECT_FALSE(ImageConfig::parse(R"({"rootfs":{"type":"x","diff_ids":[]}})"));
    EXPECT_FALSE(ImageConfig::parse(R"({"rootfs":{"type":"layers","diff_ids":[null]}})"));
}

std::string gzip(std::string data, int level = 6) {
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(deflateBound(&stream, data.size()) + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(data.data());
    stream.avail_in = static_cast<uInt>(data.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

std::string zstd(const std::string& data) {
    std::string out(ZSTD_compressBound(data.size()), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), data.data(), data.size(), 3));
    return out;
}

std::string bzip2(std::string data) {
    std::string out(data.size() + data.size() / 50 + 1000, '\0');
    auto size = static_cast<unsigned>(out.size());
    EXPECT_EQ(BZ2_bzBuffToBuffCompress(out.data(), &size, data.data(),
                                       static_cast<unsigned>(data.size()), 1, 0, 0),
              BZ_OK);
    out.resize(size);
    return out;
}

std::string xz(const std::string& data, uint32_t preset = 1) {
    std::string out(lzma_stream_buffer_bound(data.size()), '\0');
    size_t size = 0;
    EXPECT_EQ(lzma_easy_buffer_encode(preset, LZMA_CHECK_CRC64, nullptr,
                                      reinterpret_cast<const uint8_t*>(data.data()), data.size(),
                                      reinterpret_cast<uint8_t*>(out.data()), &size, out.size()),
              LZMA_OK);
    out.resize(size);
    return out;
}

Result<std::string> archive_content(const std::string& data) {
    const ByteSourcePtr source = make_memory_source(data);
    TRY_ASSIGN(const Decompressor plain, make_archive_decompressor(*source));
    return read_all(*plain.source, 64 << 20, "test data");
}

Result<std::string> decompressed(const std::string& data) {
    const ByteSourcePtr source = make_memory_source(data);
    TRY_ASSIGN(const Decompressor plain, make_decompressor(*source));
    const ByteSourcePtr ahead = make_read_ahead(*plain.source);
    return read_all(*ahead, 64 << 20, "test data");
}

std::string sample() {
    std::string text;
    for (uint64_t i = 0; i < 400'000; ++i) text += std::to_string(i * 7919);
    return text;
}

TEST(Decompress, GzipMembersInARowAndZeroPaddingAreOneStream) {
    const std::string a = sample();
    EXPECT_EQ(decompressed(gzip(a)).value(), a);
    EXPECT_EQ(decompressed(gzip(a) + gzip("b", 0) + gzip("") + gzip("c")).value(), a + "bc");
    EXPECT_EQ(decompressed(gzip(a) + std::string(1000, '\0')).value(), a);
    EXPECT_EQ(decompressed(gzip(a) + "x").error().code, ErrorCode::kCorrupt);
}

TEST(Decompress, ZstdFramesAndSkippableOnesAreOneStream) {
    const std::string a = sample();
    const std::string skippable("\x50\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
    EXPECT_EQ(decompressed(zstd(a)).value(), a);
    EXPECT_EQ(decompressed(skippable + zstd(a) + skippable + zstd("b")).value(), a + "b");
    EXPECT_EQ(decompressed(zstd(a) + "garbage").error().code, ErrorCode::kCorrupt);
}

TEST(Decompress, CutAndDamagedStreamsAreCorrupt) {
    const std::string a = sample();
    for (const std::string& packed : {gzip(a), zstd(a)}) {
        for (const size_t size : {packed.size() - 1, packed.size() / 2, size_t{5}}) {
            const auto result = decompressed(packed.substr(0, size));
            ASSERT_FALSE(result) << size;
            EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
        }
    }
    std::string damaged = gzip(a);
    damaged[damaged.size() - 6] ^= 1;  // In the checksum.
    EXPECT_EQ(decompressed(damaged).error().code, ErrorCode::kCorrupt);
}

TEST(Decompress, ArchivesMayBeAnyOfFour) {
    const std::string a = sample();
    for (const std::string& packed : {gzip(a), zstd(a), bzip2(a), xz(a), a}) {
        EXPECT_EQ(archive_content(packed).value(), a);
        EXPECT_EQ(is_compressed_archive(std::as_bytes(std::span(packed)).first(6)), packed != a);
    }
    EXPECT_EQ(archive_content(bzip2(a) + bzip2("b")).value(), a + "b");
    EXPECT_EQ(archive_content(xz(a) + xz("b") + std::string(8, '\0')).value(), a + "b");
    EXPECT_EQ(archive_content(bzip2("") + xz("")).error().code, ErrorCode::kCorrupt);
    EXPECT_EQ(archive_content("").value(), "");
    EXPECT_EQ(archive_content("BZ").value(), "BZ");
}

TEST(Decompress, CutAndDamagedArchivesAreCorrupt) {
    const std::string a = sample();
    for (const std::string& packed : {bzip2(a), xz(a)}) {
        for (const size_t size : {packed.size() - 1, packed.size() / 2, size_t{7}}) {
            const auto result = archive_content(packed.substr(0, size));
            ASSERT_FALSE(result) << size;
            EXPECT_THAT(result.error().message, HasSubstr("ends too early"));
        }
        std::string damaged = packed;
        damaged[packed.size() / 2] ^= 1;
        EXPECT_EQ(archive_content(damaged).error().code, ErrorCode::kCorrupt);
        EXPECT_EQ(archive_content(packed + "garbage").error().code, ErrorCode::kCorrupt);
    }
}

TEST(Decompress, WhatIsNotCompressedPasses) {
    for (const std::string text : {"", "a", "abc", "plain text"}) {
        EXPECT_EQ(decompressed(text).value(), text);
    }
}

TEST(ReadAhead, CanBeDroppedInTheMiddle) {
    const ByteSourcePtr source = make_memory_source(std::string(32 << 20, 'x'));
    const ByteSourcePtr ahead = make_read_ahead(*source);
    std::byte one{};
    EXPECT_EQ(ahead->read({&one, 1}).value(), 1U);
}

TEST(HashingSource, StopsAtItsLimit) {
    const ByteSourcePtr source = make_memory_source("12345");
    HashingSource hashing(*source, 4, "the test");
    std::array<std::byte, 16> buffer{};
    EXPECT_THAT(hashing.read(buffer).error().message, HasSubstr("the test has more than 4 bytes"));
}

TEST(ExpansionLimit, IsAFloorThenARatio) {
    const ExpansionLimit limit{.floor_bytes = 1000, .ratio = 10};
    EXPECT_EQ(limit.max_bytes(5), 1000U);
    EXPECT_EQ(limit.max_bytes(500), 5000U);
    EXPECT_EQ(limit.max_bytes(UINT64_MAX), UINT64_MAX);
}

}  // namespace
}  // namespace drupe::imagefs::oci
