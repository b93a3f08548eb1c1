// SIGKILL at random moments into a process that does everything at once with a store: what it had
// reported as done must be there, and the store sound. DRUPE_LONG=1: 500 times.

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <map>
#include <random>
#include <sstream>

#include "imagefs/store/sha256.h"
#include "imagefs/store/store.h"
#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::read_stamp;
using test::stamped;
using test::TempDir;
using test::value_of;
using test::write_stamp;

constexpr uint64_t kBlocks = 256;
constexpr uint64_t kTops = 4;

/// Works until it is killed; says what is done in lines: "top ID LBA STAMP" (flushed), "removing
/// ID" (before), "image NAME STAMP".
class Worker {
  public:
    Worker(Store& store, int report, uint64_t seed, uint64_t first_stamp)
        : store_(store), report_(report), random_(seed), stamp_(first_stamp) {}

    [[noreturn]] void run() {
        for (;;) {
            const std::string id = "top" + std::to_string(random_() % kTops);
            switch (random_() % 12) {
                case 0:
                    say("removing " + id);
                    must(store_.remove_top(id));
                    break;
                case 1:
                    must(store_.maintain(false));
                    break;
                case 2:
                    must(store_.prune());
                    break;
                case 3:
                    import();
                    break;
                case 4:
                case 5:
                    commit(id);
                    break;
                default:
                    write(id);
            }
        }
    }

  private:
    template <class T>
    static void must(const T& result) {
        if (result) return;
        std::fprintf(stderr, "worker: %s\n", result.error().message.c_str());
        ::_exit(3);
    }
    void say(const std::string& line) const {
        const std::string text = line + "\n";
        if (::write(report_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
            ::_exit(4);
        }
    }
    /// One that can't be opened was never acknowledged: there is none, or its making was cut off,
    /// and it is undone as an engine does it. One that was, would be missed later.
    std::unique_ptr<LayeredDisk> disk_of(const std::string& id) {
        if (Result<DiskFiles> files = store_.open_top(id)) {
            auto disk = LayeredDisk::open(std::move(files).value());
            if (disk) return std::move(disk).value();
        }
        must(store_.remove_top(id));
        Result<DiskFiles> files = store_.create_top(id, root_chain_id("test/1"));
        must(files);
        auto disk = LayeredDisk::open(std::move(files).value());
        must(disk);
        return std::move(disk).value();
    }
    void write(const std::string& id) {
        const auto disk = disk_of(id);
        const uint64_t lba = random_() % 16;
        const uint64_t stamp = ++stamp_;
        must(write_stamp(*disk, lba, stamp));
        if (random_() % 4 == 0) must(disk->discard((200 + lba) * 4096, 4096));
        must(disk->flush());
        say("top " + id + " " + std::to_string(lba) + " " + std::to_string(stamp));
        if (random_() % 2 == 0) must(disk->close());
    }
    void put(const ChainId& chain_id, uint64_t stamp) {
        Image image;
        const std::string name = "image" + std::to_string(random_() % 8);
        image.config = name + " " + std::to_string(stamp);
        image.id = sha256(image.config);
        image.chain_id = chain_id;
        must(store_.put_image(image));
        say("image " + image.id.hex() + " " + std::to_string(stamp));
        const auto images = store_.list_images();
        must(images);
        if (images.value().size() > 12) {  // the oldest go, and are no longer asked for
            const Digest old = images.value().back().id;
            say("removing " + old.hex());
            must(store_.remove_image(old));
        }
    }
    void commit(const std::string& id) {
        const uint64_t stamp = ++stamp_;
        {
            const auto disk = disk_of(id);
            must(write_stamp(*disk, 99, stamp));
            must(disk->close());
        }
        const Fd lease = value_of(store_.lease());
        auto sealed = store_.seal_top(id);
        if (!sealed && sealed.error().code == ErrorCode::kLimit) return;
        must(sealed);
        put(sealed.value().chain_id, stamp);
    }
    void import() {
        const uint64_t stamp = ++stamp_;
        const Fd lease = value_of(store_.lease());
        auto builder = store_.begin_layer(root_chain_id("test/1"));
        must(builder);
        must(builder.value().write(99, 1, stamped(stamp).data()));
        const auto chain =
            store_.publish_layer(std::move(builder).value(), sha256(std::to_string(stamp)));
        must(chain);
        put(chain.value(), stamp);
    }

    Store& store_;
    int report_;
    std::mt19937_64 random_;
    uint64_t stamp_;
};

/// What has been reported and must be true.
struct Truth {
    std::map<std::string, std::map<uint64_t, uint64_t>> tops;  ///< Stamps, by id and lba.
    std::map<std::string, uint64_t> images;                    ///< Stamp of block 99, by ID.
    uint64_t last_stamp = 0;

    void take(const std::string& lines) {
        std::istringstream in(lines);
        std::string line;
        while (std::getline(in, line)) {
            std::istringstream words(line);
            std::string kind;
            std::string name;
            uint64_t lba = 0;
            uint64_t stamp = 0;
            words >> kind >> name;
            if (kind == "removing") {
                tops.erase(name);
                images.erase(name);
            } else if (kind == "top" && words >> lba >> stamp) {
                tops[name][lba] = stamp;
            } else if (kind == "image" && words >> stamp) {
                images[name] = stamp;
            }
            last_stamp = std::max(last_stamp, stamp);
        }
        last_stamp += 1000;  // above all that it had begun
    }

    void check(Store& store) const {
        for (const auto& [id, blocks] : tops) {
            const auto disk = value_of(LayeredDisk::open(value_of(store.open_top(id), id.c_str())));
            for (const auto& [lba, stamp] : blocks) {
                const std::optional<uint64_t> found = read_stamp(*disk, lba);
                ASSERT_TRUE(found) << id << " block " << lba << " is torn";
                EXPECT_GE(*found, stamp) << id << " block " << lba;
            }
            ASSERT_OK(disk->close());
        }
        for (const auto& [id, stamp] : images) {
            const Image image = value_of(store.resolve(id), "an image: ");
            const auto disk =
                value_of(LayeredDisk::open(value_of(store.open_chain(image.chain_id))));
            EXPECT_EQ(read_stamp(*disk, 99), stamp);
        }
        const VerifyReport report = value_of(store.verify_all([](uint64_t, uint64_t) {}));
        EXPECT_TRUE(report.damaged.empty());
    }
};

/// Lets a worker work for a while, kills it, and returns what it reported.
std::string work_and_kill(const std::string& root, uint64_t seed, uint64_t first_stamp,
                          std::chrono::milliseconds life) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);
        Store store = value_of(Store::open(root));
        Worker(store, ends[1], seed, first_stamp).run();
    }
    ::close(ends[1]);
    const Fd report(ends[0]);
    std::string lines;
    const auto end = std::chrono::steady_clock::now() + life;
    for (bool killed = false;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            end - std::chrono::steady_clock::now());
        if (left.count() <= 0 && !killed) {
            ::kill(child, SIGKILL);
            killed = true;
        }
        pollfd readable{report.get(), POLLIN, 0};
        (void)::poll(&readable, 1, killed ? -1 : static_cast<int>(left.count()));
        if (readable.revents == 0) continue;
        std::array<char, 4096> buffer{};
        const ssize_t got = ::read(report.get(), buffer.data(), buffer.size());
        if (got <= 0) break;
        lines.append(buffer.data(), static_cast<size_t>(got));
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the worker failed with " << WEXITSTATUS(status);
    return lines;
}

TEST(Kill, WhatWasAcknowledgedIsThereWhenItStartsAgain) {
    const char* wish = std::getenv("DRUPE_LONG");
    const int rounds = wish != nullptr && std::string_view(wish) == "1" ? 500 : 25;
    const TempDir dir(true);
    const std::string root = dir.file("store");
    {
        Store store = value_of(Store::open(root));
        LayerBuilder builder = value_of(store.begin_root(kBlocks));
        ASSERT_OK(builder.write(0, 1, stamped(1).data()));
        ASSERT_OK(store.publish_root(std::move(builder), root_chain_id("test/1")));
        ASSERT_OK(store.create_top("keeper", root_chain_id("test/1")));  // or it might be pruned
    }
    std::mt19937_64 random(7);
    Truth truth;
    size_t reported = 0;
    for (int round = 0; round < rounds; ++round) {
        SCOPED_TRACE("round " + std::to_string(round));
        const std::string lines = work_and_kill(root, random(), truth.last_stamp,
                                                std::chrono::milliseconds(20 + random() % 400));
        reported += static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n'));
        truth.take(lines);
        Store store = value_of(Store::open(root));
        truth.check(store);
        if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(reported, static_cast<size_t>(rounds)) << "hardly anything was done";
    std::printf("%d kills, %zu acknowledgements\n", rounds, reported);
}

}  // namespace
}  // namespace drupe::imagefs
