// Images that leave one store and arrive in another.

#include "imagefs/export/image_export.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "imagefs/export/archive.h"
#include "imagefs/export/layer_tar.h"
#include "imagefs/ext4/tar_applier.h"
#include "imagefs/ext4/test_image.h"
#include "imagefs/import/disk_device.h"
#include "imagefs/import/import.h"
#include "imagefs/oci/byte_sources.h"
#include "imagefs/oci/image_config.h"
#include "imagefs/store/sha256.h"

namespace drupe::imagefs {
namespace {

using ::testing::HasSubstr;

/// A layer's tar, made in this process: what the engine has a helper do.
Result<std::unique_ptr<ByteSource>> open_tar(Store& store, const ChainId& parent,
                                             const ChainId& layer) {
    TRY_ASSIGN(DiskFiles old_files, store.open_chain(parent));
    TRY_ASSIGN(DiskFiles new_files, store.open_chain(layer));
    TRY_ASSIGN(auto before, LayeredDisk::open_to_read(std::move(old_files)));
    TRY_ASSIGN(auto after, LayeredDisk::open_to_read(std::move(new_files)));
    TRY_ASSIGN(auto pair, make_layered_pair(std::move(before), std::move(after)));
    TRY_ASSIGN(TreeDiff diff, TreeDiff::open(std::move(pair)));
    std::string tar;
    TRY(write_layer_tar(diff, [&](std::string_view bytes) -> Status {
        tar += bytes;
        return ok();
    }));
    return oci::make_memory_source(std::move(tar));
}

class ImageExportTest : public ::testing::Test {
  protected:
    ImageExportTest() {
        char name[] = "/tmp/drupe-export-XXXXXX";
        root_ = ::mkdtemp(name);
        store_.emplace(open_store("one"));
        write("rootfs.tar", ext4::TarBuilder()
                                .directory("etc/")
                                .file("etc/motd", "hello")
                                .hardlink("etc/again", "etc/motd")
                                .finish());
        ImportOptions options;
        options.reference = "app:1";
        const auto made = import_rootfs(*store_, root_ + "/rootfs.tar", options, {});
        EXPECT_TRUE(made) << made.error().message;
        image_ = store_->resolve("docker.io/library/app:1").value();
    }
    ~ImageExportTest() override {
        store_.reset();
        std::filesystem::remove_all(root_);
    }

    Store open_store(const std::string& name) {
        auto store = Store::open(root_ + "/" + name);
        EXPECT_TRUE(store) << store.error().message;
        return std::move(store).value();
    }
    void write(const std::string& name, std::string_view bytes) {
        const Fd file = open_file(root_ + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0600).value();
        EXPECT_TRUE(write_all(file.get(), std::as_bytes(std::span(bytes))));
    }
    Result<OutImage> prepare() {
        return prepare_image(*store_, image_, {},
                             [this](const ChainId& parent, const ChainId& layer) {
                                 return open_tar(*store_, parent, layer);
                             });
    }
    /// All files of an image, as bytes.
    static std::string files_of(Store& store, const Image& image) {
        const auto chain = store.chain(image.chain_id).value();
        auto tar = open_tar(store, chain.front().chain_id, image.chain_id);
        EXPECT_TRUE(tar) << tar.error().message;
        return oci::read_all(*tar.value(), 1 << 20, "files").value();
    }

    std::string root_;
    std::optional<Store> store_;
    Image image_;
};

TEST_F(ImageExportTest, WhatIsPreparedDescribesItself) {
    const auto out = prepare();
    ASSERT_TRUE(out) << out.error().message;
    ASSERT_EQ(out.value().layers.size(), 1U);
    const OutBlob& layer = out.value().layers[0];
    auto source = layer.open();
    ASSERT_TRUE(source) << source.error().message;
    const std::string bytes = oci::read_all(*source.value(), 1 << 20, "layer").value();
    EXPECT_EQ(bytes.size(), layer.size);
    EXPECT_EQ(sha256(bytes), layer.digest);
    auto compressed = oci::make_memory_source(bytes);
    const auto plain = oci::make_decompressor(*compressed).value();
    EXPECT_EQ(sha256(oci::read_all(*plain.source, 1 << 20, "tar").value()),
              out.value().diff_ids.at(0));
    const auto config = oci::ImageConfig::parse(out.value().config);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config.value().diff_ids, out.value().diff_ids);
    EXPECT_THAT(out.value().manifest, HasSubstr(sha256(out.value().config).to_string()));
    EXPECT_THAT(out.value().manifest, HasSubstr(layer.digest.to_string()));
}

TEST_F(ImageExportTest, TheSameImageIsPreparedTheSameWay) {
    const auto one = prepare();
    const auto two = prepare();
    ASSERT_TRUE(one) << one.error().message;
    ASSERT_TRUE(two) << two.error().message;
    EXPECT_EQ(one.value().manifest, two.value().manifest);
}

TEST_F(ImageExportTest, ALayerThatNobodyHasIsRefusedByName) {
    Image image = image_;
    const Digest diff_id = sha256("a layer whose tar nobody has");
    image.chain_id =
        store_->publish_layer(store_->begin_layer(image_.chain_id).value(), diff_id).value();
    const auto out = prepare_image(*store_, image, {});
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(out.error().message, HasSubstr(diff_id.hex()));
}

TEST_F(ImageExportTest, ALayerOfAContainerBecomesABlobOnceAndIsThenTheSameForEver) {
    {
        const auto top = LayeredDisk::open(store_->create_top("box", image_.chain_id).value());
        ASSERT_TRUE(top) << top.error().message;
        DiskDevice device(*top.value());
        ext4::StringSource tar(ext4::TarBuilder().file("etc/new", "by a guest").finish());
        ASSERT_TRUE(ext4::apply_tar(device, tar, {}));
        ASSERT_TRUE(top.value()->close());
    }
    const auto sealed = store_->seal_top("box");
    ASSERT_TRUE(sealed) << sealed.error().message;
    // As a commit leaves it: what the layer is, isn't known.
    Image committed;
    committed.chain_id = sealed.value().chain_id;
    committed.config = image_.config;
    committed.id = sha256(committed.config + " ");
    ASSERT_TRUE(store_->put_image(committed));
    // The base's layer as it would be after a load or pull: with its blob.
    const auto base =
        open_tar(*store_, store_->chain(image_.chain_id).value().front().chain_id, image_.chain_id);
    const std::string base_tar = oci::read_all(*base.value(), 1 << 20, "base").value();
    BlobRecord record;
    record.digest = sha256(base_tar);
    record.size = base_tar.size();
    record.media_type = "application/vnd.oci.image.layer.v1.tar";
    auto file = TmpFile::create(store_->tmp_dir());
    ASSERT_TRUE(write_all(file.value().fd(), std::as_bytes(std::span(base_tar))));
    const Digest base_diff_id = store_->chain(image_.chain_id).value().back().diff_id;
    ASSERT_TRUE(keep_blob(*store_, base_diff_id, record, std::move(file).value()));

    size_t made = 0;
    const OpenLayerTar counting = [&](const ChainId& parent, const ChainId& layer) {
        ++made;
        return open_tar(*store_, parent, layer);
    };
    const auto kept = make_blobs(*store_, committed, counting);
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_EQ(made, 1U);
    const auto one = prepare_image(*store_, committed, {});
    ASSERT_TRUE(one) << one.error().message;
    const auto two = prepare_image(*store_, committed, {}, counting);
    ASSERT_TRUE(two) << two.error().message;
    EXPECT_EQ(made, 1U);
    EXPECT_EQ(one.value().manifest, two.value().manifest);
    ASSERT_EQ(one.value().diff_ids.size(), 2U);
    EXPECT_EQ(one.value().diff_ids[0], base_diff_id);
    EXPECT_EQ(store_->chain(committed.chain_id).value().back().diff_id, one.value().diff_ids[1]);
    // The config says so, and has a step for each layer.
    const auto config = oci::ImageConfig::parse(one.value().config);
    ASSERT_TRUE(config) << config.error().message;
    EXPECT_EQ(config.value().diff_ids, one.value().diff_ids);
    const auto json = nlohmann::json::parse(one.value().config, nullptr, false);
    EXPECT_EQ(json["history"].size(), 2U);
}

class ArchiveTest : public ImageExportTest, public ::testing::WithParamInterface<ArchiveFormat> {};

TEST_P(ArchiveTest, ArrivesInAnotherStoreAsItWas) {
    auto out = prepare();
    ASSERT_TRUE(out) << out.error().message;
    const Digest id = sha256(out.value().config);
    const std::vector<ArchivedImage> images{{std::move(out).value(), {"docker.io/library/app:1"}}};
    std::string archive;
    const auto written = write_archive(GetParam(), images, [&](std::string_view bytes) -> Status {
        archive += bytes;
        return ok();
    });
    ASSERT_TRUE(written) << written.error().message;
    write("archive.tar", archive);
    Store other = open_store("two");
    const auto loaded = import_images(other, root_ + "/archive.tar", {}, {});
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_EQ(loaded.value().size(), 1U);
    EXPECT_EQ(loaded.value()[0].id, id);
    const Image image = other.resolve(id.to_string()).value();
    EXPECT_EQ(files_of(other, image), files_of(*store_, image_));
}

INSTANTIATE_TEST_SUITE_P(Formats, ArchiveTest,
                         ::testing::Values(ArchiveFormat::kDocker, ArchiveFormat::kOci));

TEST_F(ImageExportTest, ABlobThatIsAnotherThanItsDigestSpoilsTheArchive) {
    auto out = prepare();
    ASSERT_TRUE(out) << out.error().message;
    OutImage image = std::move(out).value();
    const uint64_t size = image.layers[0].size;
    image.layers[0].open = [size]() -> Result<std::unique_ptr<ByteSource>> {
        return oci::make_memory_source(std::string(size, 'x'));
    };
    const std::vector<ArchivedImage> images{{std::move(image), {}}};
    const auto written =
        write_archive(ArchiveFormat::kOci, images, [](std::string_view) -> Status { return ok(); });
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, ErrorCode::kCorrupt);
    EXPECT_THAT(written.error().message, HasSubstr(images[0].image.layers[0].digest.hex()));
}

}  // namespace
}  // namespace drupe::imagefs
