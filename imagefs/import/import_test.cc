#include "imagefs/import/import.h"

#include <bzlib.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "imagefs/ext4/test_image.h"
#include "imagefs/import/disk_export.h"
#include "imagefs/import/layer_import.h"
#include "imagefs/oci/image_config.h"
#include "imagefs/store/blobs.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs {
namespace {

namespace fs = std::filesystem;
using ext4::TarBuilder;
using testing::ElementsAre;
using testing::HasSubstr;

class Folder {
  public:
    Folder() {
        const char* parent = std::getenv("TMPDIR");
        path_ = std::string(parent != nullptr ? parent : "/tmp") + "/drupe-import-XXXXXX";
        EXPECT_NE(mkdtemp(path_.data()), nullptr);
    }
    ~Folder() { fs::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

void write_text(const std::string& path, std::string_view text) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
}

std::string gzip(const std::string& data) {
    z_stream stream{};
    EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    std::string out(deflateBound(&stream, data.size()) + 64, '\0');
    std::string input = data;
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
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

std::string xz(const std::string& data) {
    std::string out(lzma_stream_buffer_bound(data.size()), '\0');
    size_t size = 0;
    EXPECT_EQ(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr,
                                      reinterpret_cast<const uint8_t*>(data.data()), data.size(),
                                      reinterpret_cast<uint8_t*>(out.data()), &size, out.size()),
              LZMA_OK);
    out.resize(size);
    return out;
}

/// Writes OCI layouts by hand, so that each part can be wrong.
class Layout {
  public:
    explicit Layout(std::string path) : path_(std::move(path)) {
        write_text(path_ + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    }
    std::string blob(const std::string& bytes) const {
        const Digest digest = sha256(bytes);
        write_text(path_ + "/blobs/sha256/" + digest.hex(), bytes);
        return descriptor_body(digest, bytes.size());
    }
    static std::string descriptor_body(const Digest& digest, size_t size) {
        return fmt::format(R"("digest":"{}","size":{})", digest.to_string(), size);
    }
    void layer(const std::string& tar) { layer_as(tar, gzip(tar), sha256(tar)); }
    void layer_as(const std::string& /*tar*/, const std::string& bytes, const Digest& diff_id) {
        layers_ +=
            fmt::format(R"({}{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",{}}})",
                        layers_.empty() ? "" : ",", blob(bytes));
        diff_ids_ += fmt::format("{}\"{}\"", diff_ids_.empty() ? "" : ",", diff_id.to_string());
    }
    void finish(const std::string& ref_name = "latest") const {
        const std::string config =
            blob(fmt::format(R"({{"os":"linux","architecture":"amd64","config":{{"Cmd":["sh"]}},)"
                             R"("rootfs":{{"type":"layers","diff_ids":[{}]}}}})",
                             diff_ids_));
        const std::string manifest =
            blob(fmt::format(R"({{"schemaVersion":2,"config":{{"mediaType":)"
                             R"("application/vnd.oci.image.config.v1+json",{}}},"layers":[{}]}})",
                             config, layers_));
        write_text(path_ + "/index.json",
                   fmt::format(R"({{"schemaVersion":2,"manifests":[{{"mediaType":)"
                               R"("application/vnd.oci.image.manifest.v1+json",{},"annotations":)"
                               R"({{"org.opencontainers.image.ref.name":"{}"}}}}]}})",
                               manifest, ref_name));
    }
    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
    std::string layers_;
    std::string diff_ids_;
};

class ImportTest : public testing::Test {
  protected:
    void SetUp() override {
        auto store = Store::open(folder_.path() + "/store");
        ASSERT_TRUE(store) << store.error().message;
        store_.emplace(std::move(store).value());
    }

    std::vector<ImageSummary> load(const std::string& path, const ImportOptions& options = {}) {
        auto images = import_images(*store_, path, options, {});
        EXPECT_TRUE(images) << images.error().message;
        return images ? std::move(images).value() : std::vector<ImageSummary>();
    }
    std::string refusal(const std::string& path, const ImportOptions& options = {}) {
        const auto images = import_images(*store_, path, options, {});
        EXPECT_FALSE(images);
        return images ? "accepted" : images.error().message;
    }
    /// The chain's disk as a file that e2fsck has found clean.
    std::string exported(const ChainId& chain) {
        std::string path = folder_.path() + "/disk.raw";
        auto files = store_->open_chain(chain);
        EXPECT_TRUE(files) << files.error().message;
        auto disk = LayeredDisk::open(std::move(files).value());
        EXPECT_TRUE(disk) << disk.error().message;
        const Fd out = open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600).value();
        const Status written = export_raw(*disk.value(), out.get());
        EXPECT_TRUE(written) << written.error().message;
        const std::string check =
            "PATH=$PATH:/sbin:/usr/sbin e2fsck -fn " + path + " > " + path + ".log 2>&1";
        EXPECT_EQ(std::system(check.c_str()), 0) << read_file(path + ".log", 1 << 20).value();
        return path;
    }
    std::string content(const ChainId& chain, std::string_view file) {
        const Fd disk = open_file(exported(chain), O_RDONLY).value();
        struct stat info {};
        EXPECT_EQ(fstat(disk.get(), &info), 0);
        const auto device = ext4::make_file_device(
            disk.get(), static_cast<uint64_t>(info.st_size) / ext4::BlockDevice::kBlockSize);
        auto text = ext4::ImageReader::open(*device).value().read_file(file, 1 << 20);
        return text ? text.value() : text.error().message;
    }
    Layout two_layers(const std::string& name) {
        Layout layout(folder_.path() + "/" + name);
        layout.layer(TarBuilder().file("etc/a", "first").file("gone", "x").finish());
        layout.layer(TarBuilder().file("etc/b", "second").file(".wh.gone", "").finish());
        layout.finish();
        return layout;
    }

    Folder folder_;
    std::optional<Store> store_;
};

TEST_F(ImportTest, AnOciLayoutBecomesAnImage) {
    const Layout layout = two_layers("My-App");
    const auto images = load(layout.path());
    ASSERT_EQ(images.size(), 1U);
    EXPECT_EQ(images[0].layers, 2U);
    EXPECT_EQ(images[0].layers_reused, 0U);
    EXPECT_THAT(images[0].references, ElementsAre("docker.io/library/my-app:latest"));
    EXPECT_EQ(content(images[0].chain_id, "etc/a"), "first");
    EXPECT_EQ(content(images[0].chain_id, "etc/b"), "second");
    EXPECT_THAT(content(images[0].chain_id, "gone"), HasSubstr("not in the image"));
    const Image image = store_->resolve("docker.io/library/my-app:latest").value();
    EXPECT_EQ(image.id, images[0].id);
    EXPECT_THAT(oci::ImageConfig::parse(image.config).value().cmd, ElementsAre("sh"));
    EXPECT_TRUE(store_->verify(images[0].chain_id));
}

TEST_F(ImportTest, WhatIsLoadedIsKeptByteForByte) {
    const Layout layout = two_layers("app");
    const auto images = load(layout.path());
    const Image image = store_->resolve(images.at(0).id.to_string()).value();
    const auto manifest = find_manifest(*store_, image.manifest).value();
    ASSERT_TRUE(manifest);
    EXPECT_EQ(sha256(manifest->body), image.manifest);
    EXPECT_EQ(manifest->media_type, "application/vnd.oci.image.manifest.v1+json");
    const auto chain = store_->chain(image.chain_id).value();
    for (const auto& layer : chain) {
        if (!layer.parent) continue;
        const auto blobs = blobs_of(*store_, layer.diff_id).value();
        ASSERT_EQ(blobs.size(), 1U);
        EXPECT_TRUE(blobs[0].kept);
        EXPECT_EQ(blobs[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
        const Fd file = open_blob(*store_, blobs[0].digest).value();
        const std::string bytes = read_all(file.get(), 1 << 20).value();
        EXPECT_EQ(bytes.size(), blobs[0].size);
        EXPECT_EQ(sha256(bytes), blobs[0].digest);
    }
    ASSERT_TRUE(store_->remove_image(image.id));
    EXPECT_TRUE(fs::is_empty(store_->blobs_dir()));
}

TEST_F(ImportTest, LayersThatAreThereAreNotReadAgain) {
    const Layout layout = two_layers("app");
    load(layout.path());
    // Without its blobs only an import that doesn't look at them can work.
    for (const auto& entry : fs::directory_iterator(layout.path() + "/blobs/sha256")) {
        if (read_file(entry.path(), 1 << 20).value().starts_with("\x1f\x8b")) fs::remove(entry);
    }
    std::vector<ImportProgress> seen;
    const auto images = import_images(*store_, layout.path(), {.reference = "other:1"},
                                      [&](const ImportProgress& step) { seen.push_back(step); });
    ASSERT_TRUE(images) << images.error().message;
    EXPECT_EQ(images.value()[0].layers_reused, 2U);
    ASSERT_EQ(seen.size(), 2U);
    EXPECT_TRUE(seen[1].reused && seen[1].done);
    EXPECT_THAT(images.value()[0].references, ElementsAre("docker.io/library/other:1"));
}

TEST_F(ImportTest, ALayerThatIsThereWithoutItsBlobGetsIt) {
    const Layout layout = two_layers("app");
    Store other = Store::open(folder_.path() + "/other").value();
    const ImageSummary known = import_images(other, layout.path(), {}, {}).value().at(0);
    const Digest diff_id = other.chain(known.chain_id).value().at(1).diff_id;
    const BlobRecord wanted = blobs_of(other, diff_id).value().at(0);
    // As a machine's layer that was pushed: its diffID is known, and nobody has kept a blob.
    LayerBuilder builder = store_->begin_layer(ensure_layer0(*store_).value()).value();
    ASSERT_TRUE(store_->publish_layer(std::move(builder), diff_id));
    ASSERT_TRUE(blobs_of(*store_, diff_id).value().empty());

    EXPECT_EQ(load(layout.path()).at(0).layers_reused, 1U);
    const BlobRecord blob = blobs_of(*store_, diff_id).value().at(0);
    EXPECT_TRUE(blob.kept);
    EXPECT_EQ(blob.digest, wanted.digest);
    const Fd file = open_blob(*store_, blob.digest).value();
    EXPECT_EQ(sha256(read_all(file.get(), 1 << 20).value()), wanted.digest);
}

TEST_F(ImportTest, AnOciArchiveWorksLikeItsFolderAlsoWhenCompressed) {
    const Layout layout = two_layers("app");
    const std::string tar = folder_.path() + "/app.tar";
    ASSERT_EQ(std::system(("tar -C " + layout.path() + " -cf " + tar + " .").c_str()), 0);
    const auto plain = load(tar);
    ASSERT_EQ(plain.size(), 1U);
    EXPECT_EQ(content(plain[0].chain_id, "etc/a"), "first");
    write_text(tar + ".gz", gzip(read_file(tar, 64 << 20).value()));
    const auto compressed = load(tar + ".gz");
    ASSERT_EQ(compressed.size(), 1U);
    EXPECT_EQ(compressed[0].id, plain[0].id);
    EXPECT_EQ(compressed[0].references, plain[0].references);
}

TEST_F(ImportTest, OldDockerSaveArchivesWorkWithSharedLayersAsSymlinks) {
    const std::string path = folder_.path() + "/save";
    const std::string tar = TarBuilder().file("f", "docker").finish();
    const std::string diff_id = sha256(tar).to_string();
    const std::string config =
        fmt::format(R"({{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers",)"
                    R"("diff_ids":["{}","{}"]}}}})",
                    diff_id, diff_id);
    const std::string name = sha256(config).hex() + ".json";
    write_text(path + "/" + name, config);
    write_text(path + "/aaa/layer.tar", tar);
    fs::create_directories(path + "/bbb");
    fs::create_symlink("../aaa/layer.tar", path + "/bbb/layer.tar");
    write_text(path + "/manifest.json",
               fmt::format(R"([{{"Config":"{}","RepoTags":["demo:2"],)"
                           R"("Layers":["aaa/layer.tar","bbb/layer.tar"]}}])",
                           name));
    const std::string archive = folder_.path() + "/save.tar";
    ASSERT_EQ(std::system(("tar -C " + path + " -cf " + archive + " .").c_str()), 0);
    const auto images = load(archive);
    ASSERT_EQ(images.size(), 1U);
    EXPECT_EQ(images[0].layers, 2U);
    EXPECT_THAT(images[0].references, ElementsAre("docker.io/library/demo:2"));
    EXPECT_EQ(content(images[0].chain_id, "f"), "docker");
}

TEST_F(ImportTest, WrongDigestsSizesAndDiffIdsPublishNothing) {
    const std::string tar = TarBuilder().file("f", "x").finish();
    Layout wrong_diff(folder_.path() + "/diff");
    wrong_diff.layer_as(tar, gzip(tar), sha256("something else"));
    wrong_diff.finish();
    EXPECT_THAT(refusal(wrong_diff.path()), HasSubstr("layer 1 of 1: the layer's diffID is"));

    Layout changed(folder_.path() + "/changed");
    changed.layer(tar);
    changed.finish();
    const std::string blob = changed.path() + "/blobs/sha256/" + sha256(gzip(tar)).hex();
    const std::string other = gzip(TarBuilder().file("f", "y").finish());
    write_text(blob, other);
    EXPECT_THAT(refusal(changed.path()), HasSubstr("layer 1 of 1: the layer"));
    write_text(blob, gzip(tar) + "trailing");
    EXPECT_THAT(refusal(changed.path()), HasSubstr("layer 1 of 1: the layer has more than"));
    EXPECT_TRUE(store_->list_images().value().empty());
    EXPECT_EQ(store_->disk_usage().value().layers, 1U) << "only layer 0";
}

TEST_F(ImportTest, AnEndlessLayerEndsAtItsLimit) {
    const std::string zeroes(64 << 20, '\0');
    const std::string tar = TarBuilder().file("f", zeroes).finish();
    Layout bomb(folder_.path() + "/bomb");
    bomb.layer(tar);
    bomb.finish();
    ImportOptions options;
    options.expansion = {.floor_bytes = 1 << 20, .ratio = 100};
    EXPECT_THAT(refusal(bomb.path(), options), HasSubstr("uncompressed, has more than"));
}

TEST_F(ImportTest, LinksOutOfALayoutAreNotFollowed) {
    const Layout layout = two_layers("app");
    fs::remove(layout.path() + "/index.json");
    fs::create_symlink("/etc/passwd", layout.path() + "/index.json");
    EXPECT_THAT(refusal(layout.path()), HasSubstr("neither an OCI image layout"));
}

TEST_F(ImportTest, ARootFolderKeepsEverythingAFileHas) {
    const std::string root = folder_.path() + "/root";
    write_text(root + "/etc/passwd", "root:x:0:0::/:/bin/sh\n");
    write_text(root + "/sp ace/\xc3\xa9", "name");
    fs::create_hard_link(root + "/etc/passwd", root + "/etc/passwd-");
    fs::create_symlink("/nowhere/outside", root + "/link");
    ASSERT_EQ(chmod((root + "/etc/passwd").c_str(), 04640), 0);
    const auto image = import_rootfs(*store_, root, {.reference = "root"}, {});
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(content(image.value().chain_id, "etc/passwd-"), "root:x:0:0::/:/bin/sh\n");
    EXPECT_EQ(content(image.value().chain_id, "sp ace/\xc3\xa9"), "name");
    const auto again = import_rootfs(*store_, root, {.reference = "root"}, {});
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again.value().id, image.value().id) << "the same bytes for the same folder";
}

TEST_F(ImportTest, ARootTarMayBeCompressed) {
    const std::string tar = TarBuilder().file("hello", "world").finish();
    write_text(folder_.path() + "/plain.tar", tar);
    write_text(folder_.path() + "/packed.tar.gz", gzip(tar));
    const auto plain = import_rootfs(*store_, folder_.path() + "/plain.tar", {}, {});
    ASSERT_TRUE(plain) << plain.error().message;
    const auto packed = import_rootfs(*store_, folder_.path() + "/packed.tar.gz", {}, {});
    ASSERT_TRUE(packed) << packed.error().message;
    EXPECT_EQ(packed.value().id, plain.value().id);
    EXPECT_EQ(content(plain.value().chain_id, "hello"), "world");
    for (const std::string& other : {bzip2(tar), xz(tar)}) {
        const std::string path = folder_.path() + "/packed";
        write_text(path, other);
        const auto image = import_rootfs(*store_, path, {}, {});
        ASSERT_TRUE(image) << image.error().message;
        EXPECT_EQ(image.value().id, plain.value().id);
    }
}

TEST_F(ImportTest, ARootTarThatIsBzip2OrXzIsBoundedAndMayBeDamaged) {
    const std::string tar = TarBuilder().file("big", std::string(1 << 20, 'x')).finish();
    const std::string path = folder_.path() + "/packed.tar.xz";
    write_text(path, xz(tar));
    ImportOptions bounded;
    bounded.expansion = {.floor_bytes = 1 << 16, .ratio = 2};
    const auto too_much = import_rootfs(*store_, path, bounded, {});
    ASSERT_FALSE(too_much);
    EXPECT_EQ(too_much.error().code, ErrorCode::kLimit) << too_much.error().message;
    fs::resize_file(path, fs::file_size(path) / 2);
    const auto damaged = import_rootfs(*store_, path, {}, {});
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().code, ErrorCode::kCorrupt) << damaged.error().message;
}

TEST_F(ImportTest, TheBuiltInImageIsTheSameEachTimeAndReusesItsLayer) {
    const std::string busybox = "/bin/busybox";
    if (access(busybox.c_str(), X_OK) != 0)
        FAIL() << "no busybox-static here: scripts/install-deps";
    const auto image = import_builtin_busybox(*store_, busybox);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_THAT(image.value().references, ElementsAre("docker.io/library/busybox:latest"));
    const auto again = import_builtin_busybox(*store_, busybox);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again.value().id, image.value().id);
    EXPECT_EQ(again.value().layers_reused, 1U);
    EXPECT_THAT(content(image.value().chain_id, "etc/passwd"), HasSubstr("root:x:0:0"));
    EXPECT_FALSE(import_builtin_busybox(*store_, "/bin/ls")) << "not static";
}

}  // namespace
}  // namespace drupe::imagefs
