#include "imagefs/store/database.h"

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

}  // namespace
}  // namespace drupe::imagefs
