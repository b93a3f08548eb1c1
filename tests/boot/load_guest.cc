// A load that checks itself, in a machine that is saved and restored over and over: clocks, timers,
// a ring of processes, memory, and a program beside them (fio) whose end would be a failure.
//
//     load-guest PACE [PROGRAM ARGUMENT...]
//
// PACE: 1 is what a processor does by the way; 10 is a tenth of it.
//
// Prints a line in a while:
//
//     NUMBER REALTIME_MS CLOCKS TIMERS0 TIMERS1 SLEEPS0 SLEEPS1 RING MEMORY SECTORS
//
// where all after the time are counts that rise as long as everything makes progress, and
// `WRONG ...` whatever is wrong.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1'000 * kMs;
constexpr int kCpus = 2;
constexpr size_t kPage = 4096;

/// What each of them has done, in memory that all processes share.
enum Counter { kClocks, kTimers0, kTimers1, kSleeps0, kSleeps1, kRing, kMemory, kCounters };
std::array<std::atomic<uint64_t>, kCounters>* counters = nullptr;
int64_t pace = 1;

void count(int counter) {
    (*counters)[static_cast<size_t>(counter)].fetch_add(1);
}

/// One write: lines of several processes aren't mixed.
__attribute__((format(printf, 1, 2))) void say(const char* format, ...) {
    std::array<char, 4096> line{};
    va_list values;
    va_start(values, format);
    const int size = std::vsnprintf(line.data(), line.size() - 1, format, values);
    va_end(values);
    const size_t length = std::min(static_cast<size_t>(std::max(size, 0)), line.size() - 2);
    line[length] = '\n';
    [[maybe_unused]] const ssize_t ignored = ::write(1, line.data(), length + 1);
}

[[noreturn]] void give_up(const char* what) {
    say("WRONG %s: %s", what, std::strerror(errno));
    std::exit(1);
}

int64_t now(clockid_t clock) {
    timespec time{};
    ::clock_gettime(clock, &time);
    return time.tv_sec * kSecond + time.tv_nsec;
}

timespec to_timespec(int64_t ns) {
    return {ns / kSecond, ns % kSecond};
}

void rest(int64_t ns) {
    const timespec time = to_timespec(ns);
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &time, nullptr);
}

void run_on(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(cpu % kCpus), &set);
    if (::sched_setaffinity(0, sizeof set, &set) < 0) give_up("a CPU of its own");
}

/// No clock goes back, on whichever CPU it is read, nor leaps ahead where it counts what the
/// machine has lived.
void watch_clocks() {
    struct Watched {
        const char* name;
        clockid_t clock;
        int64_t last;
    };
    std::array<Watched, 4> all{{{"CLOCK_MONOTONIC", CLOCK_MONOTONIC, 0},
                                {"CLOCK_MONOTONIC_RAW", CLOCK_MONOTONIC_RAW, 0},
                                {"CLOCK_BOOTTIME", CLOCK_BOOTTIME, 0},
                                {"CLOCK_REALTIME", CLOCK_REALTIME, 0}}};
    constexpr int64_t kLeap = 60 * kSecond;
    uint64_t last_tsc = 0;
    for (int round = 0;; ++round) {
        run_on(round);
        for (int i = 0; i < 20; ++i) {
            for (Watched& watched : all) {
                const int64_t time = now(watched.clock);
                if (time < watched.last)
                    say("WRONG %s went back by %" PRId64 " ns", watched.name, watched.last - time);
                if (watched.clock != CLOCK_REALTIME && watched.last != 0 &&
                    time > watched.last + kLeap)
                    say("WRONG %s leapt by %" PRId64 " ns", watched.name, time - watched.last);
                watched.last = time;
            }
            unsigned cpu = 0;
            const uint64_t tsc = __rdtscp(&cpu);
            if (tsc < last_tsc) say("WRONG the TSC went back by %" PRIu64, last_tsc - tsc);
            last_tsc = tsc;
        }
        count(kClocks);
        rest(4 * kMs * pace);
    }
}

/// A timer that fires again and again: never too often, and never less often than time has gone by.
void watch_timer(int cpu) {
    const int64_t period = 10 * kMs * pace;
    constexpr int64_t kPatience = 10 * kSecond;  // from the read until the clock is read
    run_on(cpu);
    const int fd = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    const int64_t start = now(CLOCK_MONOTONIC);
    const itimerspec times{to_timespec(period), to_timespec(start + period)};
    if (fd < 0 || ::timerfd_settime(fd, TFD_TIMER_ABSTIME, &times, nullptr) < 0) give_up("a timer");
    int64_t fired = 0;
    for (;;) {
        uint64_t more = 0;
        if (::read(fd, &more, sizeof more) != sizeof more) give_up("a timer's read");
        fired += static_cast<int64_t>(more);
        const int64_t gone = now(CLOCK_MONOTONIC) - start;
        if (fired * period > gone || gone - fired * period > kPatience)
            say("WRONG timer %d fired %" PRId64 " times in %" PRId64 " ms", cpu, fired, gone / kMs);
        count(kTimers0 + cpu);
    }
}

/// Sleeps for a time and until one, by both clocks: none ends early.
void watch_sleeps(int cpu) {
    run_on(cpu);
    for (int round = 0;; ++round) {
        const clockid_t clock = round % 2 == 0 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
        const int64_t until = now(clock) + 7 * kMs * pace;
        const timespec time = to_timespec(until);
        if (::clock_nanosleep(clock, TIMER_ABSTIME, &time, nullptr) != 0) give_up("a sleep");
        if (now(clock) < until) say("WRONG a sleep ended early");
        const int64_t before = now(CLOCK_MONOTONIC);
        rest(3 * kMs * pace);
        if (now(CLOCK_MONOTONIC) - before < 3 * kMs * pace) say("WRONG a sleep was too short");
        count(kSleeps0 + cpu);
    }
}

/// Not random: anybody can say what it has to be.
uint64_t mix(uint64_t value) {
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

/// Pages are looked at, and written anew, one after the other; the others must stay as they are.
void watch_memory() {
    constexpr size_t kPages = 1024;
    constexpr size_t kWords = kPage / sizeof(uint64_t);
    std::vector<uint64_t> words(kPages * kWords);
    std::vector<uint64_t> generations(kPages);
    for (uint64_t step = 0;; ++step) {
        const size_t page = step < kPages ? step : mix(step) % kPages;
        for (size_t i = 0; i < kWords; ++i) {
            uint64_t& word = words[page * kWords + i];
            const uint64_t seed = (page << 40 ^ i << 30) + generations[page];
            if (generations[page] != 0 && word != mix(seed))
                say("WRONG word %zu of page %zu, of generation %" PRIu64, i, page,
                    generations[page]);
            word = mix(seed + 1);
        }
        ++generations[page];
        count(kMemory);
        rest(2 * kMs * pace);
    }
}

struct Token {
    uint64_t number;
    std::array<uint64_t, 63> filling;
};

void fill(Token& token, uint64_t number) {
    token.number = number;
    for (size_t i = 0; i < token.filling.size(); ++i) token.filling[i] = mix(number + i);
}

void transfer(int fd, Token& token, bool writes) {
    char* const bytes = reinterpret_cast<char*>(&token);
    for (size_t done = 0; done < sizeof token;) {
        const ssize_t size = writes ? ::write(fd, bytes + done, sizeof token - done)
                                    : ::read(fd, bytes + done, sizeof token - done);
        if (size <= 0) give_up("the ring is broken");
        done += static_cast<size_t>(size);
    }
}

using Link = std::pair<int, int>;  // where it is read from, and written to

Link tcp_link() {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    const int writer = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener, any, size) < 0 || ::listen(listener, 1) < 0 ||
        ::getsockname(listener, any, &size) < 0 || ::connect(writer, any, size) < 0)
        give_up("TCP");
    const int on = 1;
    ::setsockopt(writer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const int reader = ::accept(listener, nullptr, nullptr);
    if (reader < 0) give_up("TCP");
    ::close(listener);
    return {reader, writer};
}

Link make_link(int number) {
    std::array<int, 2> fds{};
    if (number % 3 == 0) return tcp_link();
    if (number % 3 == 1 ? ::pipe(fds.data()) < 0
                        : ::socketpair(AF_UNIX, SOCK_STREAM, 0, fds.data()) < 0)
        give_up("a link of the ring");
    return {fds[0], fds[1]};
}

void spawn(const std::function<void()>& work) {
    const pid_t pid = ::fork();
    if (pid < 0) give_up("fork");
    if (pid != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    work();
    std::exit(1);
}

/// Tokens go round by TCP, pipes and Unix sockets, from one CPU to the other and back.
void start_ring() {
    constexpr int kMembers = 6;
    std::vector<Link> links;
    for (int i = 0; i < kMembers; ++i) links.push_back(make_link(i));
    const auto in = [&](int member) { return links[static_cast<size_t>(member)].first; };
    const auto out = [&](int member) {
        return links[static_cast<size_t>((member + 1) % kMembers)].second;
    };
    for (int member = 1; member < kMembers; ++member) {
        spawn([&] {
            run_on(member);
            for (Token token{};;) {
                transfer(in(member), token, false);
                transfer(out(member), token, true);
            }
        });
    }
    spawn([&] {
        run_on(0);
        for (uint64_t number = 1;; ++number) {
            Token sent{};
            fill(sent, number);
            transfer(out(0), sent, true);
            Token got{};
            transfer(in(0), got, false);
            if (std::memcmp(&sent, &got, sizeof got) != 0)
                say("WRONG token %" PRIu64 " came back as %" PRIu64, number, got.number);
            count(kRing);
            rest(2 * kMs * pace);
        }
    });
}

/// What a kernel says of errors.
bool complains(std::string_view line) {
    if (line.size() > 2 && line[0] == '<' && line[1] >= '0' && line[1] <= '3' && line[2] == '>')
        return true;
    for (const char* words : {"BUG", "WARNING", "Oops", "lockup", "stall", "hung", "unstable",
                              "I/O error", "EXT4-fs error", "EXT4-fs warning", "nobody cared"})
        if (line.find(words) != std::string_view::npos) return true;
    return false;
}

void watch_kernel() {
    constexpr int kRead = 2;  // SYSLOG_ACTION_READ: waits
    constexpr int kUnread = 9;
    std::vector<char> bytes(64 << 10);
    const auto read = [&] {
        return ::klogctl(kRead, bytes.data(), static_cast<int>(bytes.size()));
    };
    // What it said as it booted isn't this test's.
    while (::klogctl(kUnread, nullptr, 0) > 0 && read() > 0) continue;
    std::string rest_of_line;
    for (;;) {
        const int size = read();
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) give_up("the kernel's log");
        rest_of_line.append(bytes.data(), static_cast<size_t>(size));
        for (size_t end = 0; (end = rest_of_line.find('\n')) != std::string::npos;) {
            std::string line = rest_of_line.substr(0, end);
            if (complains(line)) {  // registers and a trace follow
                rest(300 * kMs);
                const int more = ::klogctl(kUnread, nullptr, 0) > 0 ? read() : 0;
                line = rest_of_line +
                       std::string(bytes.data(), static_cast<size_t>(std::max(more, 0)));
                std::ranges::replace(line, '\n', '|');
                say("WRONG kernel: %s", line.c_str());
                rest_of_line.clear();
                break;
            }
            rest_of_line.erase(0, end + 1);
        }
    }
}

/// The libraries of Debian's fio have more zeroes than a small machine has memory.
void allow_overcommit() {
    std::FILE* const file = std::fopen("/proc/sys/vm/overcommit_memory", "w");
    if (file == nullptr || std::fputs("1", file) < 0 || std::fclose(file) != 0)
        give_up("/proc/sys/vm/overcommit_memory");
}

/// Read from and written to the root disk.
uint64_t sectors() {
    std::FILE* const file = std::fopen("/proc/diskstats", "r");
    if (file == nullptr) give_up("/proc/diskstats");
    uint64_t found = 0;
    std::array<char, 512> line{};
    while (std::fgets(line.data(), line.size(), file) != nullptr) {
        uint64_t read = 0;
        uint64_t written = 0;
        if (std::sscanf(line.data(), "%*u %*u vda %*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64, &read,
                        &written) == 2)
            found = read + written;
    }
    std::fclose(file);
    return found;
}

void reap() {
    int status = 0;
    while (::waitpid(-1, &status, WNOHANG) > 0)
        say("WRONG a process ended: %s %d", WIFEXITED(status) ? "exit code" : "signal",
            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

void report(uint64_t number) {
    std::string counts;
    for (const auto& counter : *counters) counts += " " + std::to_string(counter.load());
    say("%" PRIu64 " %" PRId64 "%s %" PRIu64, number, now(CLOCK_REALTIME) / kMs, counts.c_str(),
        sectors());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) pace = std::max(std::atoi(argv[1]), 1);
    void* const shared = ::mmap(nullptr, sizeof *counters, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) give_up("shared memory");
    counters = new (shared) std::array<std::atomic<uint64_t>, kCounters>{};
    spawn(watch_kernel);
    spawn(watch_clocks);
    spawn(watch_memory);
    for (int cpu = 0; cpu < kCpus; ++cpu) {
        spawn([cpu] { watch_timer(cpu); });
        spawn([cpu] { watch_sleeps(cpu); });
    }
    start_ring();
    if (argc > 2) {
        allow_overcommit();
        spawn([&] {
            ::dup2(2, 1);
            ::execv(argv[2], argv + 2);
            give_up(argv[2]);
        });
    }
    for (uint64_t number = 1;; ++number) {
        report(number);
        reap();
        rest(100 * kMs);
    }
}
