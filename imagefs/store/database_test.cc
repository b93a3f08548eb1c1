#include "imagefs/store/database.h"

#include <fmt/core.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "imagefs/store/test_support.h"

namespace drupe::imagefs {
namespace {

using test::TempDir;
using test::value_of;

TEST(DatabaseTest, AWriterThatComesTooLateMeetsALimitOfTime) {
    const TempDir dir;
    Database one = value_of(Database::open(dir.file("drupe.db")));
    Database other = value_of(Database::open(dir.file("drupe.db")));
    EXPECT_OK(one.execute("CREATE TABLE t (x INTEGER UNIQUE)"));
    // Whoever has read before another's write can't write any more: busy at once, without a wait.
    EXPECT_OK(one.execute("BEGIN; SELECT count(*) FROM t"));
    EXPECT_OK(other.execute("INSERT INTO t VALUES (1)"));
    EXPECT_FAILS(one.execute("INSERT INTO t VALUES (2)"), kLimit, "database is locked");
    EXPECT_OK(one.execute("ROLLBACK"));
    EXPECT_FAILS(one.execute("INSERT INTO t VALUES (1)"), kConflict, "UNIQUE");
}

TEST(DatabaseTest, ALongLogIsEmptiedAndAShortOneIsLeft) {
    const TempDir dir;
    Database db = value_of(Database::open(dir.file("drupe.db")));
    const auto log_bytes = [&] { return std::filesystem::file_size(dir.file("drupe.db-wal")); };
    EXPECT_OK(db.execute("CREATE TABLE t (x)"));
    const auto before = log_bytes();
    db.checkpoint();
    EXPECT_GT(before, 0U);
    EXPECT_EQ(log_bytes(), before);
    EXPECT_OK(db.execute("INSERT INTO t VALUES (zeroblob(300000))"));
    db.checkpoint();
    EXPECT_EQ(log_bytes(), 0U);
}

class StatementTest : public testing::Test {
  protected:
    void SetUp() override { EXPECT_OK(db_.execute("CREATE TABLE t (x INTEGER UNIQUE, y)")); }
    Status insert(int64_t x, std::optional<int64_t> y) {
        TRY_ASSIGN(Statement statement, db_.prepare("INSERT INTO t VALUES (?, ?)"));
        statement.bind(0, x);
        if (y) statement.bind(1, *y);
        return statement.run();
    }
    std::vector<int64_t> numbers(const char* sql = "SELECT x FROM t ORDER BY x") {
        Statement query = value_of(db_.prepare(sql));
        std::vector<int64_t> found;
        while (value_of(query.step())) found.push_back(query.integer(0));
        return found;
    }

    TempDir dir_;
    Database db_ = value_of(Database::open(dir_.file("drupe.db")));
};

TEST_F(StatementTest, OneThatIsUsedAgainHasForgottenItsParametersAndRows) {
    EXPECT_OK(insert(1, 10));
    EXPECT_OK(insert(2, std::nullopt));
    EXPECT_EQ(numbers("SELECT x FROM t WHERE y IS NULL"), (std::vector<int64_t>{2}));
    {
        Statement half = value_of(db_.prepare("SELECT x FROM t ORDER BY x"));
        EXPECT_TRUE(value_of(half.step()));
    }
    EXPECT_EQ(numbers(), (std::vector<int64_t>{1, 2}));
}

TEST_F(StatementTest, OneThatFailedCanBeUsedAgain) {
    EXPECT_OK(insert(1, 1));
    EXPECT_FAILS(insert(1, 1), kConflict, "UNIQUE");
    EXPECT_OK(insert(2, 1));
    EXPECT_EQ(numbers(), (std::vector<int64_t>{1, 2}));
}

TEST_F(StatementTest, TheSameTextTwiceAtATimeIsTwoStatements) {
    EXPECT_OK(insert(1, 1));
    EXPECT_OK(insert(2, 1));
    for (int round = 0; round < 2; ++round) {
        Statement outer = value_of(db_.prepare("SELECT x FROM t ORDER BY x"));
        EXPECT_TRUE(value_of(outer.step()));
        EXPECT_EQ(numbers(), (std::vector<int64_t>{1, 2}));
        EXPECT_EQ(outer.integer(0), 1);
        EXPECT_TRUE(value_of(outer.step()));
        EXPECT_EQ(outer.integer(0), 2);
    }
}

TEST_F(StatementTest, ItsEndLetsAnothersWritesBeSeenAndDone) {
    Database other = value_of(Database::open(dir_.file("drupe.db")));
    EXPECT_OK(insert(1, 1));
    EXPECT_EQ(numbers(), (std::vector<int64_t>{1}));
    { EXPECT_TRUE(value_of(value_of(db_.prepare("SELECT x FROM t")).step())); }
    EXPECT_OK(other.execute("INSERT INTO t VALUES (2, 2)"));
    EXPECT_EQ(numbers(), (std::vector<int64_t>{1, 2}));
    EXPECT_OK(other.execute("ALTER TABLE t ADD COLUMN z DEFAULT 7"));
    EXPECT_EQ(numbers("SELECT z FROM t WHERE x = 1"), (std::vector<int64_t>{7}));
    EXPECT_EQ(numbers(), (std::vector<int64_t>{1, 2}));
    EXPECT_FAILS(insert(3, 3), kIo, "3 columns");
}

TEST_F(StatementTest, AnyNumberOfDifferentTextsWorks) {
    EXPECT_OK(insert(1, 1));
    for (int round = 0; round < 2; ++round) {
        for (int64_t i = 0; i < 200; ++i) {
            EXPECT_EQ(numbers(fmt::format("SELECT x + {} FROM t", i).c_str()),
                      (std::vector<int64_t>{1 + i}));
        }
    }
}

TEST_F(StatementTest, OneMayOutliveItsDatabase) {
    std::optional<Database> other = value_of(Database::open(dir_.file("other.db")));
    Statement query = value_of(other->prepare("SELECT 7"));
    other.reset();
    EXPECT_TRUE(value_of(query.step()));
    EXPECT_EQ(query.integer(0), 7);
}

}  // namespace
}  // namespace drupe::imagefs
