#include "imagefs/store/store.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "imagefs/store/sha256.h"
#include "imagefs/store/store_files.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::read_stamp;
using test::stamped;
using test::TempDir;
using test::value_of;
using test::write_stamp;

constexpr uint64_t kBlocks = 2048;

class StoreTest : public ::testing::Test {
  protected:
    StoreTest() : store_(reopen()) {}

    Store reopen() { return value_of(Store::open(dir_.file("root/of/store"))); }
    [[nodiscard]] std::string root() const { return dir_.file("root/of/store"); }

    ChainId publish_root() {
        LayerBuilder builder = value_of(store_.begin_root(kBlocks));
        EXPECT_OK(builder.write(0, 1, stamped(1).data()));
        EXPECT_OK(builder.write(1, 1, stamped(2).data()));
        const ChainId id = root_chain_id("test/1");
        EXPECT_OK(store_.publish_root(std::move(builder), id));
        return id;
    }
    /// A layer on `parent` whose diffID is made of its name, with a block at lba.
    ChainId publish(const ChainId& parent, std::string_view name, uint64_t lba, uint64_t stamp) {
        LayerBuilder builder = value_of(store_.begin_layer(parent));
        EXPECT_OK(builder.write(lba, 1, stamped(stamp).data()));
        return value_of(store_.publish_layer(std::move(builder), sha256(name)));
    }
    Image put(std::string_view config, const ChainId& chain_id) {
        Image image;
        image.id = sha256(config);
        image.config = config;
        image.chain_id = chain_id;
        image.manifest = sha256(std::string_view("manifest"));
        EXPECT_OK(store_.put_image(image));
        return image;
    }
    [[nodiscard]] size_t files_in(const std::string& folder) const {
        const std::filesystem::directory_iterator it(root() + "/" + folder);
        return static_cast<size_t>(std::distance(begin(it), end(it)));
    }

    TempDir dir_{true};
    Store store_;
};

TEST_F(StoreTest, LayersStackUpToADisk) {
    const ChainId base = publish_root();
    const ChainId middle = publish(base, "a", 1, 10);
    const ChainId head = publish(middle, "b", 2, 20);
    EXPECT_EQ(head, child_chain_id(child_chain_id(base, sha256(std::string_view("a"))),
                                   sha256(std::string_view("b"))));
    const auto disk = value_of(LayeredDisk::open(value_of(store_.open_chain(head))));
    EXPECT_EQ(disk->size_bytes(), kBlocks * 4096);
    EXPECT_EQ(read_stamp(*disk, 0), 1U);
    EXPECT_EQ(read_stamp(*disk, 1), 10U);
    EXPECT_EQ(read_stamp(*disk, 2), 20U);
    EXPECT_EQ(read_stamp(*disk, 3), 0U);
    const std::vector<LayerRecord> chain = value_of(store_.chain(head));
    ASSERT_EQ(chain.size(), 3U);
    EXPECT_EQ(chain[0].chain_id, base);
    EXPECT_EQ(chain[2].parent, middle);
    EXPECT_OK(store_.verify(head));
}

TEST_F(StoreTest, PublishingAgainIsNoError) {
    const ChainId base = publish_root();
    EXPECT_EQ(publish(base, "a", 1, 10), publish(base, "a", 1, 10));
    EXPECT_TRUE(value_of(store_.has_layer(base)));
    EXPECT_EQ(files_in("layers"), 2U);
    EXPECT_EQ(files_in("tmp"), 0U);
}

TEST_F(StoreTest, WhatIsMissingIsNotFound) {
    const ChainId nothing = sha256(std::string_view("nothing"));
    EXPECT_FALSE(value_of(store_.has_layer(nothing)));
    EXPECT_FAILS(store_.open_chain(nothing), kNotFound, "no layer sha256:");
    EXPECT_FAILS(store_.begin_layer(nothing), kNotFound, "no layer sha256:");
    EXPECT_FAILS(store_.create_top("x", nothing), kNotFound, "no layer sha256:");
    EXPECT_FAILS(store_.open_top("x"), kNotFound, "no disk x");
    EXPECT_FAILS(store_.resolve("busybox"), kNotFound, "no image busybox");
    EXPECT_FAILS(store_.untag("busybox"), kNotFound, "no image busybox");
    EXPECT_FAILS(store_.tag("busybox", nothing), kNotFound, "no image sha256:");
    EXPECT_FAILS(store_.remove_image(nothing), kNotFound, "no image sha256:");
    EXPECT_OK(store_.remove_top("x"));
}

TEST_F(StoreTest, AMissingOrDamagedIndexIsMadeAgain) {
    const ChainId head = publish(publish_root(), "a", 1, 10);
    const std::string index = root() + "/indexes/" + head.hex();
    ASSERT_TRUE(std::filesystem::remove(index));
    EXPECT_OK(store_.open_chain(head));
    std::filesystem::resize_file(index, 100);
    EXPECT_OK(store_.open_chain(head));
    {
        std::fstream file(index, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(4100);
        file.put('\x55');
    }
    EXPECT_OK(store_.open_chain(head));
    EXPECT_OK(store_.verify(head));
}

TEST_F(StoreTest, AnIndexThatWasFoundRightIsLookedAtAgainOnceItHasChanged) {
    const ChainId head = publish(publish_root(), "a", 1, 10);
    EXPECT_OK(store_.open_chain(head));
    const std::string path = root() + "/indexes/" + head.hex();
    const auto version = [&] {
        const Fd fd = value_of(open_file(path, O_RDONLY));
        return value_of(version_of_file(fd.get(), path));
    };
    const FileVersion before = version();
    while (version() == before) {  // a file's times have steps of some milliseconds
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(2 * 4096);  // level 1
        file.put('\x55');
    }
    DiskFiles files = value_of(store_.open_chain(head));
    EXPECT_OK(value_of(MergedIndex::open(files.index, "test")).verify());
}

TEST_F(StoreTest, AVolatileTopIsRefusedAfterACrash) {
    const ChainId base = publish_root();
    value_of(store_.create_top("x", base));
    const auto open = [&] {
        DiskFiles files = value_of(store_.open_top("x"));
        files.is_volatile = true;
        return LayeredDisk::open(std::move(files));
    };
    {
        const auto disk = value_of(open());
        ASSERT_OK(write_stamp(*disk, 7, 70));
        ASSERT_OK(disk->flush());
        ASSERT_OK(disk->close());
    }
    {
        const auto disk = value_of(open());
        EXPECT_EQ(read_stamp(*disk, 7), 70U);
        ASSERT_OK(write_stamp(*disk, 8, 80));
    }
    EXPECT_FAILS(open(), kCorrupt, "remove it");
    const auto disk = value_of(LayeredDisk::open(value_of(store_.open_top("x"))));
    EXPECT_EQ(read_stamp(*disk, 8), 80U);
}

TEST_F(StoreTest, VerifyNamesADamagedLayer) {
    const ChainId base = publish_root();
    const ChainId head = publish(base, "a", 1, 10);
    {
        std::fstream file(root() + "/layers/" + base.hex(),
                          std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(5000);
        file.put('\x55');
    }
    EXPECT_FAILS(store_.verify(head), kCorrupt, base.hex());
}

TEST_F(StoreTest, ATopKeepsItsDataAcrossMachines) {
    const ChainId head = publish(publish_root(), "a", 1, 10);
    {
        const auto disk = value_of(LayeredDisk::open(value_of(store_.create_top("box", head))));
        ASSERT_OK(write_stamp(*disk, 1, 77));
        ASSERT_OK(disk->discard(0, 4096));
        ASSERT_OK(disk->close());
    }
    Store other = reopen();
    const auto disk = value_of(LayeredDisk::open(value_of(other.open_top("box"))));
    EXPECT_EQ(read_stamp(*disk, 0), 0U);
    EXPECT_EQ(read_stamp(*disk, 1), 77U);
    EXPECT_GT(value_of(other.top_bytes("box")), 4096U);
    EXPECT_LT(value_of(other.top_bytes("box")), 65536U);
}

TEST_F(StoreTest, TheDatabaseIsItsOwnersAlone) {
    publish_root();
    const auto mode_of = [&](const std::string& suffix) {
        struct stat status {};
        EXPECT_EQ(::stat((root() + "/drupe.db" + suffix).c_str(), &status), 0) << suffix;
        return status.st_mode & 0777;
    };
    ASSERT_EQ(::chmod((root() + "/drupe.db").c_str(), 0644), 0);  // as it once was made
    ASSERT_EQ(::chmod((root() + "/drupe.db-shm").c_str(), 0644), 0);
    const Store again = reopen();
    for (const char* suffix : {"", "-wal", "-shm"}) EXPECT_EQ(mode_of(suffix), 0600U) << suffix;
}

TEST_F(StoreTest, ATopIsWaitedForWhileItsLastHolderEnds) {
    DiskFiles files = value_of(store_.create_top("box", publish_root()));
    std::thread holder([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        files = {};
    });
    EXPECT_OK(reopen().open_top("box"));
    holder.join();
}

TEST_F(StoreTest, ATopBelongsToOneMachineAtATime) {
    const ChainId base = publish_root();
    DiskFiles files = value_of(store_.create_top("box", base));
    EXPECT_FAILS(store_.create_top("box", base), kConflict, "a disk box already");
    Store other = reopen();
    EXPECT_FAILS(other.open_top("box"), kConflict, "in use");
    EXPECT_FAILS(other.remove_top("box"), kConflict, "in use");
    files = {};
    EXPECT_OK(other.open_top("box"));
    EXPECT_OK(other.remove_top("box"));
    EXPECT_FAILS(other.open_top("box"), kNotFound, "no disk box");
    EXPECT_EQ(files_in("tops"), 0U);
    EXPECT_OK(store_.create_top("box", base));
}

TEST_F(StoreTest, TopNamesCannotLeaveTheStore) {
    const ChainId base = publish_root();
    for (const std::string& id :
         {std::string(), std::string("../x"), std::string("a/b"), std::string(".x"),
          std::string("a\0b", 3), std::string(129, 'a')}) {
        EXPECT_FAILS(store_.create_top(id, base), kInvalid, "can't name a disk");
        EXPECT_FAILS(store_.open_top(id), kInvalid, "can't name a disk");
        EXPECT_FAILS(store_.remove_top(id), kInvalid, "can't name a disk");
    }
}

TEST_F(StoreTest, ImagesAreFoundByTagAndById) {
    const ChainId base = publish_root();
    const Image one = put("{\"one\":1}", base);
    put("{\"two\":2}", base);
    ASSERT_OK(store_.tag("docker.io/library/one:latest", one.id));
    ASSERT_OK(store_.tag("one:v1", one.id));
    const Image found = value_of(store_.resolve("docker.io/library/one:latest"));
    EXPECT_EQ(found.id, one.id);
    EXPECT_EQ(found.config, "{\"one\":1}");
    EXPECT_EQ(found.chain_id, base);
    EXPECT_EQ(found.manifest, sha256(std::string_view("manifest")));
    EXPECT_GT(found.size_bytes, 2 * 4096U);
    EXPECT_GT(found.created_s, 1'600'000'000);
    EXPECT_GT(found.tagged_ns, 1'600'000'000'000'000'000);
    EXPECT_EQ(
        value_of(store_.resolve(sha256(std::string_view("{\"two\":2}")).to_string())).tagged_ns, 0);
    EXPECT_EQ(found.tags, (std::vector<std::string>{"docker.io/library/one:latest", "one:v1"}));
    EXPECT_EQ(value_of(store_.resolve(one.id.to_string())).id, one.id);
    EXPECT_EQ(value_of(store_.resolve(one.id.hex().substr(0, 12))).id, one.id);
    EXPECT_FAILS(store_.resolve(one.id.hex().substr(0, 3)), kNotFound, "no image");
    EXPECT_EQ(value_of(store_.list_images()).size(), 2U);
    ASSERT_OK(store_.untag("one:v1"));
    EXPECT_FAILS(store_.resolve("one:v1"), kNotFound, "no image");
}

TEST_F(StoreTest, AnAmbiguousIdIsAConflict) {
    const ChainId base = publish_root();
    Image image;
    image.config = "{}";
    image.chain_id = base;
    for (const uint8_t last : {1, 2}) {
        image.id = test::digest_number(0xAB);
        image.id.bytes[31] = last;
        ASSERT_OK(store_.put_image(image));
    }
    EXPECT_FAILS(store_.resolve("abababab"), kConflict, "several images");
    EXPECT_EQ(value_of(store_.resolve(image.id.hex())).id, image.id);
}

TEST_F(StoreTest, RemovingAnImageRemovesTheLayersOnlyItNeeds) {
    const ChainId base = publish_root();
    const ChainId shared = publish(base, "shared", 1, 10);
    const ChainId left = publish(shared, "left", 2, 20);
    const ChainId right = publish(shared, "right", 2, 30);
    const Image l = put("left", left);
    const Image r = put("right", right);
    ASSERT_OK(store_.tag("left", l.id));
    const PruneReport report = value_of(store_.remove_image(l.id));
    EXPECT_EQ(report.layers, 1U);
    EXPECT_GT(report.bytes, 4096U);
    EXPECT_FALSE(value_of(store_.has_layer(left)));
    EXPECT_TRUE(value_of(store_.has_layer(shared)));
    EXPECT_FAILS(store_.resolve("left"), kNotFound, "no image");
    EXPECT_OK(store_.open_chain(right));
    EXPECT_EQ(value_of(store_.remove_image(r.id)).layers, 3U);
    EXPECT_EQ(files_in("layers"), 0U);
    EXPECT_EQ(files_in("indexes"), 0U);
}

TEST_F(StoreTest, WhatAMachineHasOpenIsNotPruned) {
    const ChainId head = publish(publish_root(), "a", 1, 10);
    DiskFiles files = value_of(store_.open_chain(head));
    Store other = reopen();
    EXPECT_EQ(value_of(other.prune()).layers, 0U);
    files = {};
    EXPECT_EQ(value_of(other.prune()).layers, 2U);
}

TEST_F(StoreTest, WhatAStoppedMachinesTopNeedsIsNotPruned) {
    const ChainId head = publish(publish_root(), "a", 1, 10);
    ASSERT_OK(store_.create_top("box", head));
    EXPECT_EQ(value_of(store_.prune()).layers, 0U);
    EXPECT_OK(store_.open_top("box"));
    ASSERT_OK(store_.remove_top("box"));
    EXPECT_EQ(value_of(store_.prune()).layers, 2U);
}

TEST_F(StoreTest, NothingIsPrunedWhileAnImporterHasALease) {
    publish_root();
    std::optional<Fd> lease = value_of(store_.lease());
    Store other = reopen();
    EXPECT_EQ(value_of(other.prune()).layers, 0U);
    lease.reset();
    EXPECT_EQ(value_of(other.prune()).layers, 1U);
}

TEST_F(StoreTest, LeftoversOfCrashesAreRemoved) {
    std::ofstream(root() + "/tmp/leftover") << "x";
    std::ofstream(root() + "/layers/" + std::string(64, 'a')) << "x";
    const TmpFile mine = value_of(TmpFile::create(root() + "/tmp"));
    reopen();
    EXPECT_EQ(files_in("tmp"), 1U);  // what is in use stays
    EXPECT_OK(store_.prune());
    EXPECT_EQ(files_in("layers"), 0U);
}

TEST_F(StoreTest, ImagesNeedTheirChain) {
    Image image;
    image.id = sha256(std::string_view("x"));
    image.chain_id = sha256(std::string_view("missing"));
    EXPECT_FAILS(store_.put_image(image), kNotFound, "no layer");
}

TEST_F(StoreTest, DeepChainsReadAsOneDisk) {
    ChainId head = publish_root();
    for (uint32_t depth = 1; depth < 40; ++depth) {
        head = publish(head, "layer " + std::to_string(depth), depth, depth);
    }
    const auto disk = value_of(LayeredDisk::open(value_of(store_.open_chain(head))));
    EXPECT_EQ(read_stamp(*disk, 39), 39U);
    EXPECT_EQ(read_stamp(*disk, 2), 2U);
}

TEST_F(StoreTest, DiskUsageCountsWhatIsAllocated) {
    const ChainId base = publish_root();
    put("x", base);
    ASSERT_OK(store_.create_top("box", base));
    const DiskUsage usage = value_of(store_.disk_usage());
    EXPECT_EQ(usage.layers, 1U);
    EXPECT_EQ(usage.images, 1U);
    EXPECT_EQ(usage.tops, 1U);
    EXPECT_LT(usage.top_bytes, 65536U);
    EXPECT_GE(usage.layer_bytes, 5 * 4096U);
}

TEST_F(StoreTest, AStoreOfAnotherVersionIsRefused) {
    std::ofstream(root() + "/format") << "drupe store 9\n";
    EXPECT_FAILS(Store::open(root()), kUnsupported, "another version");
}

TEST(StoreFiles, TheProbeAcceptsThisFileSystem) {
    const TempDir dir(true);
    EXPECT_OK(probe_file_system(dir.path()));
}

TEST(Database, MigratesInStepsAndRefusesANewerSchema) {
    const TempDir dir;
    const char* const first = "CREATE TABLE t (a INTEGER)";
    const char* const second = "ALTER TABLE t ADD COLUMN b INTEGER DEFAULT 7";
    const std::array one{first};
    const std::array both{first, second};
    {
        Database db = value_of(Database::open(dir.file("db")));
        ASSERT_OK(db.migrate("engine", one));
        ASSERT_OK(db.migrate("engine", one));
        ASSERT_OK(db.execute("INSERT INTO t VALUES (1)"));
        ASSERT_OK(db.migrate("engine", both));
    }
    Database db = value_of(Database::open(dir.file("db")));
    Statement query = value_of(db.prepare("SELECT a, b FROM t"));
    ASSERT_TRUE(value_of(query.step()));
    EXPECT_EQ(query.integer(1), 7);
    EXPECT_FAILS(db.migrate("engine", one), kUnsupported, "newer Drupe");
}

TEST(Database, AFailedTransactionLeavesNothing) {
    const TempDir dir;
    Database db = value_of(Database::open(dir.file("db")));
    ASSERT_OK(db.execute("CREATE TABLE t (a INTEGER)"));
    EXPECT_FAILS(db.transaction([&]() -> Status {
        TRY(db.execute("INSERT INTO t VALUES (1)"));
        return Error{ErrorCode::kInvalid, "no"};
    }),
                 kInvalid, "no");
    Statement query = value_of(db.prepare("SELECT count(*) FROM t"));
    ASSERT_TRUE(value_of(query.step()));
    EXPECT_EQ(query.integer(0), 0);
}

}  // namespace
}  // namespace drupe::imagefs
