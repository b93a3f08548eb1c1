// What the store holds after its process was killed at any step of what it does.

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <random>

#include "imagefs/store/power_cut.h"
#include "imagefs/store/sha256.h"
#include "imagefs/store/store.h"
#include "imagefs/store/store_files.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::read_stamp;
using test::stamped;
using test::TempDir;
using test::value_of;
using test::write_stamp;

constexpr uint64_t kBlocks = 512;

int g_steps_left = -1;  // in the child that is to die

const test::PowerCut* g_host = nullptr;

void die_at_step(std::string_view step, const std::string& path) {
    if (step == "synced" && g_host != nullptr) g_host->synced(path);
    if (g_steps_left > 0 && --g_steps_left == 0) ::raise(SIGKILL);
}

/// A store with an image "base" of two layers and a container "box" on it, which has written.
class CrashTest : public ::testing::Test {
  protected:
    Store open() { return value_of(Store::open(dir_->file("store"))); }

    static ChainId base_id() { return root_chain_id("test/1"); }
    static ChainId publish(Store& store, const ChainId& parent, std::string_view name, uint64_t lba,
                           uint64_t stamp) {
        LayerBuilder builder = value_of(store.begin_layer(parent));
        EXPECT_OK(builder.write(lba, 1, stamped(stamp).data()));
        return value_of(store.publish_layer(std::move(builder), sha256(name)));
    }
    static Image put(Store& store, std::string_view config, const ChainId& chain_id) {
        Image image;
        image.id = sha256(config);
        image.config = config;
        image.chain_id = chain_id;
        EXPECT_OK(store.put_image(image));
        EXPECT_OK(store.tag(config, image.id));
        return image;
    }
    void make_store() {
        dir_ = std::make_unique<TempDir>();
        Store store = open();
        LayerBuilder builder = value_of(store.begin_root(kBlocks));
        ASSERT_OK(builder.write(0, 1, stamped(1).data()));
        ASSERT_OK(store.publish_root(std::move(builder), base_id()));
        const ChainId head = publish(store, base_id(), "a", 1, 10);
        put(store, "base", head);
        const auto disk = value_of(LayeredDisk::open(value_of(store.create_top("box", head))));
        ASSERT_OK(write_stamp(*disk, 2, 20));
        ASSERT_OK(disk->discard(0, 4096));
        ASSERT_OK(disk->close());
    }
    /// What was there before, whatever happened to it.
    void check(Store& store) {
        const Image image = value_of(store.resolve("base"));
        ASSERT_OK(store.verify(image.chain_id));
        const auto base = value_of(LayeredDisk::open(value_of(store.open_chain(image.chain_id))));
        EXPECT_EQ(read_stamp(*base, 0), 1U);
        EXPECT_EQ(read_stamp(*base, 1), 10U);
        const auto box = value_of(LayeredDisk::open(value_of(store.open_top("box"))));
        EXPECT_EQ(read_stamp(*box, 0), 0U);
        EXPECT_EQ(read_stamp(*box, 1), 10U);
        EXPECT_EQ(read_stamp(*box, 2), 20U);
        ASSERT_OK(box->close());
    }
    /// Nothing but what has a row, and what has a row is there.
    void check_tidy(Store& store) {
        ASSERT_OK(store.prune());
        const VerifyReport report = value_of(store.verify_all([](uint64_t, uint64_t) {}));
        EXPECT_TRUE(report.damaged.empty());
        const DiskUsage usage = value_of(store.disk_usage());
        EXPECT_EQ(files_in("layers"), usage.layers + flats_);
        EXPECT_EQ(files_in("tmp"), 0U);
        EXPECT_EQ(files_in("tops"), usage.tops);
        EXPECT_EQ(files_in("tops/box"), 2U);
    }
    [[nodiscard]] size_t files_in(const std::string& folder) const {
        const std::filesystem::directory_iterator it(dir_->file("store/" + folder));
        return static_cast<size_t>(std::distance(begin(it), end(it)));
    }

    void count_flats() {
        flats_ = 0;
        for (const auto& entry : std::filesystem::directory_iterator(dir_->file("store/layers"))) {
            if (entry.path().extension() == ".flat") ++flats_;
        }
    }

    /// Does `work` in a child that dies before its n-th step; false: it came to its end.
    static bool killed_at(int n, const test::PowerCut* host, const std::function<void()>& work) {
        const pid_t child = ::fork();
        if (child == 0) {
            g_steps_left = n;
            g_host = host;
            set_step_hook(die_at_step);
            work();
            ::_exit(::testing::Test::HasFailure() ? 1 : 0);
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        if (WIFSIGNALED(status)) return true;
        EXPECT_EQ(WEXITSTATUS(status), 0);
        return false;
    }

    /// Kills `work` at each of its steps, on a new store each time, and looks what is left; once as
    /// the kernel has it, once as the disk has it. `look` is told whether the work was done.
    void kill_at_every_step(const std::function<void(Store&)>& prepare,
                            const std::function<void(Store&)>& work,
                            const std::function<void(Store&, bool done)>& look) {
        for (const bool power_cut : {false, true}) {
            SCOPED_TRACE(power_cut ? "power cut" : "kill");
            int step = 1;
            while (kill_at(step, power_cut, prepare, work, look)) {
                if (HasFailure()) return;
                ++step;
            }
            EXPECT_GT(step, 3) << "the work has steps";
        }
    }

    /// False: the work was done before.
    bool kill_at(int step, bool power_cut, const std::function<void(Store&)>& prepare,
                 const std::function<void(Store&)>& work,
                 const std::function<void(Store&, bool done)>& look) {
        SCOPED_TRACE("step " + std::to_string(step));
        make_store();
        {
            Store store = open();
            prepare(store);
        }
        const test::PowerCut host(dir_->file("store"), dir_->file("shadow"));
        if (power_cut) host.start();
        const bool killed = killed_at(step, power_cut ? &host : nullptr, [&] {
            Store store = open();
            work(store);
        });
        if (power_cut) host.cut();
        Store store = open();
        check(store);
        look(store, !killed);
        check_tidy(store);
        check(store);
        return killed;
    }

    std::unique_ptr<TempDir> dir_;
    size_t flats_ = 0;  // files that flatten() made
};

void nothing(Store&) {}
void no_look(Store&, bool) {}

TEST_F(CrashTest, Import) {
    kill_at_every_step(
        nothing,
        [](Store& store) {
            const Fd lease = value_of(store.lease());
            put(store, "new", publish(store, publish(store, base_id(), "b", 3, 30), "c", 4, 40));
        },
        [](Store& store, bool done) {
            const auto image = store.resolve("new");
            EXPECT_TRUE(image || !done) << "it was acknowledged";
            if (!image) return;
            const auto disk =
                value_of(LayeredDisk::open(value_of(store.open_chain(image.value().chain_id))));
            EXPECT_EQ(read_stamp(*disk, 4), 40U);
        });
}

TEST_F(CrashTest, Seal) {
    kill_at_every_step(
        nothing, [](Store& store) { EXPECT_OK(store.seal_top("box")); },
        [](Store& store, bool done) {
            const Image base = value_of(store.resolve("base"));
            const auto sealed = value_of(store.prune()).layers;
            EXPECT_EQ(sealed, 0U) << "the container needs it";
            EXPECT_TRUE(value_of(store.disk_usage()).layers == 3 || !done) << base.config;
        });
}

TEST_F(CrashTest, SealOfWhatCrashed) {
    kill_at_every_step(
        [](Store& store) {
            const auto disk = value_of(LayeredDisk::open(value_of(store.open_top("box"))));
            ASSERT_OK(write_stamp(*disk, 9, 90));
            ASSERT_OK(disk->flush());
        },
        [](Store& store) { EXPECT_OK(store.seal_top("box")); },
        [](Store& store, bool) {
            const auto disk = value_of(LayeredDisk::open(value_of(store.open_top("box"))));
            EXPECT_EQ(read_stamp(*disk, 9), 90U);
            EXPECT_OK(disk->close());
        });
}

TEST_F(CrashTest, Reset) {
    ChainId sealed;
    kill_at_every_step(
        [&](Store& store) {
            sealed = value_of(store.seal_top("box")).chain_id;
            const auto disk = value_of(LayeredDisk::open(value_of(store.open_top("box"))));
            ASSERT_OK(write_stamp(*disk, 9, 90));
            ASSERT_OK(disk->close());
        },
        [&](Store& store) { EXPECT_OK(store.reset_top("box", sealed)); },
        [](Store& store, bool done) {
            const auto disk = value_of(LayeredDisk::open(value_of(store.open_top("box"))));
            EXPECT_TRUE(read_stamp(*disk, 9) != 90U || !done) << "it was acknowledged";
            EXPECT_OK(disk->close());
        });
}

TEST_F(CrashTest, Pack) {
    kill_at_every_step([](Store& store) { ASSERT_OK(store.seal_top("box")); },
                       [](Store& store) { EXPECT_OK(store.maintain(false)); }, no_look);
}

TEST_F(CrashTest, Derive) {
    kill_at_every_step(
        [](Store& store) { ASSERT_OK(store.seal_top("box")); },
        [](Store& store) {
            const Fd lease = value_of(store.lease());
            const ChainId sealed = value_of(store.seal_top("box")).chain_id;
            put(store, "derived", value_of(store.derive(sealed, [](BlockBackend& disk) {
                    return write_stamp(disk, 6, 60);
                })));
        },
        [](Store& store, bool done) {
            const auto image = store.resolve("derived");
            EXPECT_TRUE(image || !done) << "it was acknowledged";
            if (!image) return;
            const auto disk =
                value_of(LayeredDisk::open(value_of(store.open_chain(image.value().chain_id))));
            EXPECT_EQ(read_stamp(*disk, 6), 60U);
            EXPECT_EQ(read_stamp(*disk, 2), 20U);
        });
}

TEST_F(CrashTest, Prune) {
    kill_at_every_step(
        [](Store& store) {
            put(store, "old", publish(store, base_id(), "b", 3, 30));
            ASSERT_OK(store.untag("old"));
        },
        [](Store& store) { EXPECT_OK(store.remove_image(sha256(std::string_view("old")))); },
        no_look);
}

TEST_F(CrashTest, Removal) {
    kill_at_every_step([](Store& store) { (void)value_of(store.create_top("other", base_id())); },
                       [](Store& store) { EXPECT_OK(store.remove_top("other")); },
                       [](Store& store, bool) { EXPECT_OK(store.remove_top("other")); });
}

TEST_F(CrashTest, Flatten) {
    kill_at_every_step(
        [this](Store& store) {
            for (uint64_t i = 0; i < Store::kKeptLayers; ++i) {
                ASSERT_OK(store.seal_top("box"));
            }
            put(store, "deep", value_of(store.seal_top("box")).chain_id);
            flats_ = 0;
        },
        [](Store& store) { EXPECT_OK(store.flatten(value_of(store.resolve("deep")).chain_id)); },
        [this](Store& store, bool) {
            ASSERT_OK(store.prune());
            count_flats();
        });
}

TEST_F(CrashTest, Join) {
    kill_at_every_step(
        [](Store& store) {
            for (int i = 0; i < 4; ++i) ASSERT_OK(store.seal_top("box"));
        },
        [](Store& store) { EXPECT_OK(store.join(value_of(store.seal_top("box")).chain_id)); },
        [this](Store& store, bool) {
            ASSERT_OK(store.maintain(true));
            ASSERT_OK(store.prune());
            count_flats();
        });
}

}  // namespace
}  // namespace drupe::imagefs
