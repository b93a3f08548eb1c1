// Pull and push against a registry in this process that does as it should, and then doesn't.

#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "imagefs/ext4/test_image.h"
#include "imagefs/registry/download_file.h"
#include "imagefs/registry/pull.h"
#include "imagefs/registry/push.h"
#include "imagefs/registry/testing/fake_registry.h"
#include "imagefs/store/blobs.h"
#include "imagefs/store/sha256.h"
#include "imagefs/store/store_files.h"

namespace drupe::imagefs::registry {
namespace {

namespace fs = std::filesystem;
using ext4::TarBuilder;
using oci::Reference;
using ::testing::ElementsAre;
using testing::FakeRegistry;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Reply;
using testing::SeenRequest;

constexpr const char* kIndexType = "application/vnd.oci.image.index.v1+json";
constexpr const char* kManifestType = "application/vnd.oci.image.manifest.v1+json";

std::string tar(std::string_view name, size_t bytes = 100) {
    // Numbers, so that gzip leaves something of it.
    std::string text;
    for (size_t i = 0; text.size() < bytes; ++i) text += std::to_string(i * 2654435761U);
    return TarBuilder().file(std::string(name), text).finish();
}

bool is_get(const SeenRequest& request, std::string_view part) {
    return request.method == "GET" && request.target.find(part) != std::string::npos;
}

class PullTest : public ::testing::Test {
  protected:
    PullTest() {
        std::string pattern = (fs::temp_directory_path() / "drupe-pull-XXXXXX").string();
        folder_ = ::mkdtemp(pattern.data());
        store_.emplace(Store::open(folder_ + "/store").value());
        session_ = testing::fast_session(folder_);
    }
    ~PullTest() override { fs::remove_all(folder_); }
    PullTest(const PullTest&) = delete;
    PullTest& operator=(const PullTest&) = delete;

    static Reference reference(FakeRegistry& registry, const std::string& suffix = ":1") {
        return Reference::parse(registry.server().host() + "/app" + suffix).value();
    }
    Result<PullResult> get(FakeRegistry& registry, const std::string& suffix = ":1") {
        return pull(*store_, *session_, reference(registry, suffix), {},
                    [this](const LayerEvent& event) {
                        if (event.total_bytes == 0) said_.push_back(event.state);
                    });
    }
    void must_get(FakeRegistry& registry, const std::string& suffix = ":1") {
        const auto pulled = get(registry, suffix);
        ASSERT_TRUE(pulled) << pulled.error().message;
        const auto image = store_->resolve(reference(registry, suffix).canonical());
        ASSERT_TRUE(image) << image.error().message;
        EXPECT_TRUE(store_->verify(image.value().chain_id));
    }
    /// The error of a pull; nothing of it may be in the store, nor left in downloads/.
    std::string refusal(FakeRegistry& registry, const std::string& suffix = ":1") {
        const auto pulled = get(registry, suffix);
        if (pulled) return "accepted";
        EXPECT_THAT(store_->list_images().value(), IsEmpty());
        return pulled.error().message;
    }
    [[nodiscard]] std::vector<std::string> downloads() const {
        std::vector<std::string> names;
        if (!fs::exists(store_->downloads_dir())) return names;
        for (const auto& entry : fs::directory_iterator(store_->downloads_dir())) {
            names.push_back(entry.path().filename());
        }
        return names;
    }

    std::string folder_;
    std::optional<Store> store_;
    std::optional<Session> session_;
    std::vector<std::string> said_;
};

TEST_F(PullTest, AnImageArrivesWithItsManifestAndSources) {
    FakeRegistry registry;
    const Digest manifest = registry.add_image("1", {tar("a"), tar("b")});
    const auto pulled = get(registry);
    ASSERT_TRUE(pulled) << pulled.error().message;
    EXPECT_EQ(pulled.value().digest, manifest);
    EXPECT_TRUE(pulled.value().is_newer);
    const Image image = store_->resolve(reference(registry).canonical()).value();
    EXPECT_EQ(image.manifest, manifest);
    EXPECT_EQ(find_manifest(*store_, manifest).value()->body, registry.manifest("1"));
    const auto blobs = blobs_of(*store_, sha256(tar("a"))).value();
    ASSERT_EQ(blobs.size(), 1U);
    EXPECT_FALSE(blobs[0].kept);
    EXPECT_THAT(blobs[0].sources, ElementsAre(registry.server().host() + "/app"));
    EXPECT_THAT(downloads(), IsEmpty());
    EXPECT_TRUE(fs::is_empty(store_->tmp_dir()));
}

TEST_F(PullTest, WhatIsThereIsNotFetched) {
    FakeRegistry registry;
    registry.add_image("1", {tar("a"), tar("b")});
    registry.add_image("2", {tar("a"), tar("c")});
    must_get(registry, ":1");
    const size_t before = registry.blob_requests();
    said_.clear();
    must_get(registry, ":2");
    EXPECT_EQ(registry.blob_requests() - before, 2U);  // a layer and the config
    EXPECT_EQ(std::count(said_.begin(), said_.end(), "Already exists"), 1);
    const auto again = get(registry, ":2");
    ASSERT_TRUE(again);
    EXPECT_FALSE(again.value().is_newer);
}

TEST_F(PullTest, OneBlobMayBeTwoLayers) {
    FakeRegistry registry;
    registry.add_image("1", {tar("a"), tar("b"), tar("a")});
    must_get(registry);
    EXPECT_THAT(downloads(), IsEmpty());
}

TEST_F(PullTest, AnIndexLeadsToThisPlatform) {
    FakeRegistry registry;
    const Digest ours = registry.add_image("ours", {tar("a")});
    const Digest other = registry.add_image("other", {tar("x")});
    const auto entry = [&](const Digest& digest, const std::string& platform) {
        std::string text = FakeRegistry::descriptor(kManifestType, digest,
                                                    registry.manifest(digest.to_string()).size());
        text.pop_back();
        return text + R"(,"platform":{"os":"linux","architecture":")" + platform + "\"}}";
    };
    const Digest index = registry.add_manifest(
        "1", kIndexType,
        fmt::format(R"({{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}})", kIndexType,
                    entry(other, "arm64"), entry(ours, "amd64")));
    const auto pulled = get(registry);
    ASSERT_TRUE(pulled) << pulled.error().message;
    EXPECT_EQ(pulled.value().digest, index);
    EXPECT_EQ(store_->resolve(reference(registry).canonical()).value().manifest, ours);
    must_get(registry, "@" + index.to_string());
}

TEST_F(PullTest, BrokenConnectionsAreResumed) {
    size_t cuts = 0;
    FakeRegistry* server = nullptr;
    const std::string big = tar("big", 2'000'000);
    FakeRegistry registry([&](const SeenRequest& request) -> std::optional<Reply> {
        const Digest digest = sha256(testing::gzip(big));
        if (!is_get(request, digest.hex()) || cuts >= 6) return std::nullopt;
        ++cuts;
        const std::string& bytes = server->blob(digest);
        const std::string range(request.headers.get("Range"));
        const size_t first = range.empty() ? 0 : std::stoul(range.substr(6));
        Reply reply{.status = first == 0 ? 200U : 206U,
                    .body = bytes.substr(first),
                    .cut_after = bytes.size() / 10};
        return reply.with("Content-Range",
                          fmt::format("bytes {}-{}/{}", first, bytes.size() - 1, bytes.size()));
    });
    server = &registry;
    registry.add_image("1", {big});
    must_get(registry);
    EXPECT_EQ(cuts, 6U);
}

TEST_F(PullTest, AServerWithoutRangesIsReadFromTheStartAgain) {
    size_t cuts = 0;
    FakeRegistry* server = nullptr;
    const std::string big = tar("big", 500'000);
    FakeRegistry registry([&](const SeenRequest& request) -> std::optional<Reply> {
        const Digest digest = sha256(testing::gzip(big));
        if (!is_get(request, digest.hex())) return std::nullopt;
        Reply whole{.body = server->blob(digest)};
        if (++cuts < 3) whole.cut_after = whole.body.size() / 2;
        return whole;
    });
    server = &registry;
    registry.add_image("1", {big});
    must_get(registry);
    EXPECT_EQ(cuts, 3U);
}

TEST_F(PullTest, WhatAKilledPullLeftIsGoneOnWith) {
    FakeRegistry registry;
    const std::string big = tar("big", 500'000);
    registry.add_image("1", {big});
    const std::string bytes = testing::gzip(big);
    const Digest digest = sha256(bytes);
    ASSERT_TRUE(make_dir(store_->downloads_dir()));
    const auto leave = [&](const std::string& content) {
        const Fd part = open_file(store_->downloads_dir() + "/" + digest.hex() + ".part",
                                  O_CREAT | O_RDWR, 0600)
                            .value();
        ASSERT_TRUE(write_all(part.get(), std::as_bytes(std::span(content))));
    };
    leave(bytes.substr(0, 1000));
    must_get(registry);
    const auto seen = registry.server().seen();
    EXPECT_TRUE(std::any_of(seen.begin(), seen.end(), [](const SeenRequest& request) {
        return request.headers.get("Range") == "bytes=1000-";
    }));
    EXPECT_THAT(downloads(), IsEmpty());
    // What is wrong is thrown away, also when it is too long.
    for (const std::string& wrong : {std::string(1000, 'x'), bytes + "x"}) {
        ASSERT_TRUE(
            store_->remove_image(store_->resolve(reference(registry).canonical()).value().id));
        leave(wrong);
        must_get(registry);
        EXPECT_THAT(downloads(), IsEmpty());
    }
}

TEST_F(PullTest, WrongBlobsAreRefusedByName) {
    const std::string good = testing::gzip(tar("a"));
    const Digest digest = sha256(good);
    std::optional<Reply> bad;
    FakeRegistry registry([&](const SeenRequest& request) -> std::optional<Reply> {
        return is_get(request, digest.hex()) ? bad : std::nullopt;
    });
    registry.add_image("1", {tar("a")});
    std::string flipped = good;
    flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 1);
    struct Case {
        Reply reply;
        const char* error;
    };
    for (const Case& wrong : std::initializer_list<Case>{
             {{.body = flipped}, "what the registry gives is sha256:"},
             {{.body = good + "more"}, "another size"},
             {{.body = good.substr(1)}, "another size"},
             {{.status = 404}, "answers 404"},
             {{.status = 403}, "answers 403"},
             {{.body = good, .cut_after = 10}, "read from"},
             {{.body = good, .drip_ms = 20}, "too slow"},
             {Reply{.status = 206, .body = good}.with("Content-Range", "bytes 5-9/10"),
              "another range"},
             {Reply{.status = 206, .body = good}, "another range"},
             {{.status = 500}, "answers 500"}}) {
        bad = wrong.reply;
        const std::string message = refusal(registry);
        EXPECT_THAT(message, HasSubstr(wrong.error));
        EXPECT_THAT(message, HasSubstr(digest.to_string())) << wrong.error;
    }
}

TEST_F(PullTest, AWrongDiffIdIsRefused) {
    FakeRegistry registry;
    const std::string bytes = testing::gzip(tar("a"));
    const std::string config =
        fmt::format(R"({{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers",)"
                    R"("diff_ids":["{}"]}}}})",
                    sha256(tar("b")).to_string());
    registry.add_manifest(
        "1", kManifestType,
        fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]}})",
                    FakeRegistry::descriptor("application/vnd.oci.image.config.v1+json",
                                             registry.add_blob(config), config.size()),
                    FakeRegistry::descriptor("application/vnd.oci.image.layer.v1.tar+gzip",
                                             registry.add_blob(bytes), bytes.size())));
    EXPECT_THAT(refusal(registry), HasSubstr("diffID"));
    // Whoever knows that blob must not take it for that layer.
    EXPECT_THAT(blobs_of(*store_, sha256(tar("b"))).value(), IsEmpty());
}

TEST_F(PullTest, HostileManifestsAreRefused) {
    FakeRegistry registry;
    const Digest missing = sha256(std::string_view("missing"));
    const std::string self = FakeRegistry::descriptor(kIndexType, missing, 10);
    struct Case {
        const char* type;
        std::string text;
        const char* error;
    };
    for (const Case& bad : std::initializer_list<Case>{
             {kManifestType, "", "not a JSON object"},
             {kManifestType, std::string(5 << 20, ' '), "more than 4194304 bytes"},
             {kManifestType, std::string(1000, '['), "nested deeper"},
             {kManifestType, R"({"schemaVersion":2,"manifests":[]})", "isn't of the type"},
             {kManifestType, R"({"schemaVersion":2,"layers":[],"manifests":[]})",
              "isn't of the type"},
             {kManifestType,
              R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",)"
              R"("manifests":[]})",
              "the registry that it is"},
             {"application/vnd.docker.distribution.manifest.v1+prettyjws", R"({"schemaVersion":1})",
              "can't be read"},
             {kManifestType, R"({"schemaVersion":2,"config":{},"layers":[]})", "without digest"},
             {kManifestType,
              R"({"schemaVersion":2,"config":{"digest":"sha256:../../etc/passwd","size":1},)"
              R"("layers":[]})",
              "sha256"},
             {kIndexType, R"({"schemaVersion":2,"manifests":[]})", "no variant for linux/amd64"},
             {kIndexType, R"({"schemaVersion":2,"manifests":[)" + self + "]}", "answers 404"}}) {
        registry.add_manifest("1", bad.type, bad.text);
        EXPECT_THAT(refusal(registry), HasSubstr(bad.error)) << bad.text.substr(0, 80);
    }
    EXPECT_THAT(refusal(registry, ":none"), HasSubstr("manifest unknown"));
    registry.add_manifest(missing.to_string(), kManifestType, "{}");
    EXPECT_THAT(refusal(registry, "@" + missing.to_string()), HasSubstr("doesn't match"));
}

TEST_F(PullTest, BombsAreRefused) {
    FakeRegistry registry;
    const std::string bomb =
        testing::gzip(TarBuilder().file("zeroes", std::string(80 << 20, '\0')).finish());
    registry.add_image("1", {tar("a")});
    const std::string config =
        registry.blob(oci::Manifest::parse(registry.manifest("1")).value().config.digest);
    registry.add_manifest(
        "1", kManifestType,
        fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]}})",
                    FakeRegistry::descriptor("application/vnd.oci.image.config.v1+json",
                                             sha256(config), config.size()),
                    FakeRegistry::descriptor("application/vnd.oci.image.layer.v1.tar+gzip",
                                             registry.add_blob(bomb), bomb.size())));
    ImportOptions options;
    options.expansion = {.floor_bytes = 1 << 20, .ratio = 10};
    const auto pulled = pull(*store_, *session_, reference(registry), options, {});
    ASSERT_FALSE(pulled);
    EXPECT_THAT(pulled.error().message, HasSubstr("more than"));
}

TEST_F(PullTest, AMirrorIsAskedFirstAndTheRegistryForWhatItLacks) {
    FakeRegistry origin;
    FakeRegistry mirror;
    origin.add_image("1", {tar("a"), tar("b")});
    mirror.add_image("1", {tar("a")});  // another image, older
    session_->config.mirrors[origin.server().host()] = {
        Url::parse("http://" + mirror.server().host()).value()};
    must_get(origin);
    EXPECT_EQ(store_->resolve(reference(origin).canonical()).value().manifest,
              sha256(mirror.manifest("1")));
    EXPECT_EQ(origin.blob_requests(), 0U);
    // A tag and blobs that the mirror doesn't have.
    origin.add_image("2", {tar("a"), tar("b")});
    must_get(origin, ":2");
    EXPECT_EQ(origin.blob_requests(), 2U);  // b and the config
}

TEST_F(PullTest, AWrongBlobOfAMirrorComesFromTheRegistry) {
    const Digest digest = sha256(testing::gzip(tar("a", 300'000)));
    FakeRegistry mirror([&](const SeenRequest& request) -> std::optional<Reply> {
        if (!is_get(request, digest.hex())) return std::nullopt;
        return Reply{.body = std::string(testing::gzip(tar("a", 300'000)).size(), 'x')};
    });
    FakeRegistry origin;
    mirror.add_image("1", {tar("a", 300'000)});
    origin.add_image("1", {tar("a", 300'000)});
    session_->config.mirrors[origin.server().host()] = {
        Url::parse("http://" + mirror.server().host()).value()};
    must_get(origin);
    EXPECT_EQ(origin.blob_requests(), 1U);
}

TEST_F(PullTest, SeveralPullsOfOneImageFetchItOnce) {
    FakeRegistry registry;
    registry.add_image("1", {tar("a", 1'000'000), tar("b", 1'000'000), tar("c"), tar("d")});
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            Store store = Store::open(store_->root()).value();
            const auto pulled = pull(store, *session_, reference(registry), {}, {});
            EXPECT_TRUE(pulled) << pulled.error().message;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(registry.blob_requests(), 4U + 4U);  // the config each, the layers once
    EXPECT_THAT(downloads(), IsEmpty());
    EXPECT_TRUE(store_->verify(store_->resolve(reference(registry).canonical()).value().chain_id));
}

TEST_F(PullTest, APushSendsWhatWasPulledByteForByte) {
    FakeRegistry from;
    FakeRegistry to;
    const Digest manifest = from.add_image("1", {tar("a"), tar("b", 3'000'000)});
    must_get(from);
    const Image image = store_->resolve(reference(from).canonical()).value();
    std::vector<std::string> said;
    const auto pushed = push(*store_, *session_, image, reference(to, ":9"),
                             [&](const LayerEvent& event) { said.push_back(event.state); });
    ASSERT_TRUE(pushed) << pushed.error().message;
    EXPECT_EQ(pushed.value().digest, manifest);
    EXPECT_EQ(to.manifest("9"), from.manifest("1"));
    EXPECT_EQ(to.blob(sha256(testing::gzip(tar("a")))), testing::gzip(tar("a")));
    EXPECT_EQ(std::count(said.begin(), said.end(), "Pushed"), 2);
    // Again there is nothing to send.
    said.clear();
    ASSERT_TRUE(push(*store_, *session_, image, reference(to, ":10"),
                     [&](const LayerEvent& event) { said.push_back(event.state); }));
    EXPECT_EQ(std::count(said.begin(), said.end(), "Layer already exists"), 2);
    const auto blobs = blobs_of(*store_, sha256(tar("a"))).value();
    EXPECT_EQ(blobs.at(0).sources.size(), 2U);
}

TEST_F(PullTest, APushSurvivesABusyServerAndChunksWhereItHasTo) {
    size_t failures = 0;
    bool whole = true;
    FakeRegistry to([&](const SeenRequest& request) -> std::optional<Reply> {
        if (request.method == "PUT" && request.body.size() > 1000 && whole &&
            request.target.find("uploads") != std::string::npos) {
            if (++failures < 3) return Reply{.status = 503};
            return Reply{.status = 413};
        }
        return std::nullopt;
    });
    FakeRegistry from;
    const Digest manifest = from.add_image("1", {tar("b", 30'000'000)});
    must_get(from);
    const Image image = store_->resolve(reference(from).canonical()).value();
    const auto pushed = push(*store_, *session_, image, reference(to), {});
    ASSERT_TRUE(pushed) << pushed.error().message;
    EXPECT_EQ(pushed.value().digest, manifest);
    const auto seen = to.server().seen();
    EXPECT_GE(std::count_if(seen.begin(), seen.end(),
                            [](const SeenRequest& r) { return r.method == "PATCH"; }),
              2);
}

TEST_F(PullTest, APushThatIsRefusedSaysWhy) {
    FakeRegistry to([&](const SeenRequest& request) -> std::optional<Reply> {
        if (request.method != "POST") return std::nullopt;
        return Reply{.status = 403, .body = R"({"errors":[{"message":"read only"}]})"};
    });
    FakeRegistry from;
    from.add_image("1", {tar("a")});
    must_get(from);
    const Image image = store_->resolve(reference(from).canonical()).value();
    const auto pushed = push(*store_, *session_, image, reference(to), {});
    ASSERT_FALSE(pushed);
    EXPECT_THAT(pushed.error().message, HasSubstr("answers 403: read only"));
    EXPECT_THAT(to.manifest("1"), IsEmpty());
}

}  // namespace
}  // namespace drupe::imagefs::registry
