#include "imagefs/store/blobs.h"

#include <fcntl.h>
#include <sys/file.h>

#include <filesystem>

#include "imagefs/store/sha256.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::content_of;
using test::stamped;
using test::TempDir;
using test::value_of;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::string_view kTar = "application/vnd.oci.image.layer.v1.tar";

class BlobsTest : public ::testing::Test {
  protected:
    BlobsTest() : store_(value_of(Store::open(dir_.file("store")))) {
        LayerBuilder root = value_of(store_.begin_root(2048));
        EXPECT_OK(root.write(0, 1, stamped(1).data()));
        const ChainId bottom = root_chain_id("test/1");
        EXPECT_OK(store_.publish_root(std::move(root), bottom));
        LayerBuilder layer = value_of(store_.begin_layer(bottom));
        EXPECT_OK(layer.write(1, 1, stamped(2).data()));
        image_.id = sha256(std::string_view("config"));
        image_.config = "config";
        image_.chain_id = value_of(store_.publish_layer(std::move(layer), diff_id_));
        image_.manifest = sha256(std::string_view("manifest"));
        EXPECT_OK(store_.put_image(image_));
    }
    TmpFile file(std::string_view content) {
        TmpFile made = value_of(TmpFile::create(store_.tmp_dir()));
        EXPECT_OK(write_exact(made.fd(), std::as_bytes(std::span(content)), 0));
        return made;
    }
    static BlobRecord record(std::string_view content, std::vector<std::string> sources = {}) {
        return {sha256(content), content.size(), std::string(kTar), false, std::move(sources)};
    }

    TempDir dir_{true};
    Store store_;
    Digest diff_id_ = sha256(std::string_view("tar"));
    Image image_;
};

TEST_F(BlobsTest, SourcesAreMergedAndKeptStaysKept) {
    ASSERT_OK(record_blob(store_, diff_id_, record("blob", {"b/x"})));
    ASSERT_OK(keep_blob(store_, diff_id_, record("blob", {"a/x", "b/x"}), file("blob")));
    ASSERT_OK(record_blob(store_, diff_id_, record("blob", {"c/x"})));
    const auto blobs = value_of(blobs_of(store_, diff_id_));
    ASSERT_EQ(blobs.size(), 1U);
    EXPECT_THAT(blobs[0].sources, ElementsAre("a/x", "b/x", "c/x"));
    EXPECT_TRUE(blobs[0].kept);
    EXPECT_EQ(blobs[0].size, 4U);
    EXPECT_EQ(blobs[0].media_type, kTar);
    EXPECT_EQ(content_of(value_of(open_blob(store_, blobs[0].digest)).get()), "blob");
}

TEST_F(BlobsTest, KeptOnesComeFirstAndOthersHaveNoFile) {
    ASSERT_OK(record_blob(store_, diff_id_, record("gzip", {"a/x"})));
    ASSERT_OK(record_blob(store_, diff_id_, record("zstd", {"a/x"})));
    ASSERT_OK(keep_blob(store_, diff_id_, record("tar"), file("tar")));
    const auto blobs = value_of(blobs_of(store_, diff_id_));
    ASSERT_EQ(blobs.size(), 3U);
    EXPECT_TRUE(blobs[0].kept);
    EXPECT_FAILS(open_blob(store_, sha256(std::string_view("gzip"))), kNotFound,
                 "doesn't keep blob sha256:");
    EXPECT_TRUE(value_of(find_blob(store_, sha256(std::string_view("zstd")))).has_value());
    EXPECT_FALSE(value_of(find_blob(store_, sha256(std::string_view("none")))).has_value());
}

TEST_F(BlobsTest, SourcesOfABlobAreBounded) {
    for (size_t i = 0; i < kMaxBlobSources + 10; ++i) {
        ASSERT_OK(record_blob(store_, diff_id_, record("blob", {"host/" + std::to_string(i)})));
    }
    EXPECT_EQ(value_of(blobs_of(store_, diff_id_))[0].sources.size(), kMaxBlobSources);
}

TEST_F(BlobsTest, PruningKeepsWhatIsNeededAndDropsTheRest) {
    ASSERT_OK(keep_blob(store_, diff_id_, record("blob"), file("blob")));
    ASSERT_OK(put_manifest(store_, image_.manifest, {"type", "manifest"}));
    ASSERT_OK(make_dir(store_.downloads_dir()));
    const auto touch = [](const std::string& path) {
        return value_of(open_file(path, O_RDWR | O_CREAT, 0600));
    };
    const Fd held = touch(store_.downloads_dir() + "/held.part");
    ASSERT_OK(lock_file(held.get(), LOCK_EX, "held"));
    touch(store_.downloads_dir() + "/dead.part");
    touch(store_.blobs_dir() + "/" + sha256(std::string_view("unknown")).hex());
    ASSERT_OK(store_.prune());
    EXPECT_OK(open_blob(store_, sha256(std::string_view("blob"))));
    EXPECT_EQ(value_of(find_manifest(store_, image_.manifest))->body, "manifest");
    EXPECT_TRUE(std::filesystem::exists(store_.downloads_dir() + "/held.part"));
    EXPECT_FALSE(std::filesystem::exists(store_.downloads_dir() + "/dead.part"));
    EXPECT_FAILS(open_blob(store_, sha256(std::string_view("unknown"))), kNotFound, "blob");

    ASSERT_OK(store_.remove_image(image_.id));
    EXPECT_THAT(value_of(blobs_of(store_, diff_id_)), IsEmpty());
    EXPECT_FALSE(value_of(find_manifest(store_, image_.manifest)).has_value());
    EXPECT_TRUE(std::filesystem::is_empty(store_.blobs_dir()));
}

}  // namespace
}  // namespace drupe::imagefs
