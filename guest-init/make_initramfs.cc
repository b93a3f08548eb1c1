// make_initramfs INIT OUTPUT: writes the guest's initramfs, an uncompressed cpio archive ("newc",
// Documentation/driver-api/early-userspace/buffer-format.rst), the same bytes for the same INIT.

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

namespace {

class Archive {
  public:
    void add(const std::string& name, uint32_t mode, const std::string& data = {},
             uint32_t major = 0, uint32_t minor = 0) {
        // ino, mode, uid, gid, nlink, mtime, filesize, device (2), rdev (2), namesize, check
        const std::array<uint32_t, 13> fields{++inode_,
                                              mode,
                                              0,
                                              0,
                                              1,
                                              0,
                                              static_cast<uint32_t>(data.size()),
                                              0,
                                              0,
                                              major,
                                              minor,
                                              static_cast<uint32_t>(name.size() + 1),
                                              0};
        bytes_ += "070701";
        for (const uint32_t field : fields) {
            char hex[9];
            (void)std::snprintf(hex, sizeof hex, "%08x", field);
            bytes_ += hex;
        }
        bytes_ += name;
        bytes_ += '\0';
        align();
        bytes_ += data;
        align();
    }
    const std::string& finish() {
        inode_ = static_cast<uint32_t>(-1);
        add("TRAILER!!!", 0);
        return bytes_;
    }

  private:
    void align() { bytes_.resize((bytes_.size() + 3) & ~size_t{3}); }

    std::string bytes_;
    uint32_t inode_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::cerr << "usage: make_initramfs INIT OUTPUT\n";
        return 2;
    }
    std::ifstream input(argv[1], std::ios::binary);
    const std::string init((std::istreambuf_iterator<char>(input)), {});
    if (!input || init.empty()) {
        std::cerr << "make_initramfs: can't read " << argv[1] << '\n';
        return 1;
    }
    Archive archive;
    for (const char* directory : {"dev", "disk", "identity"})
        archive.add(directory, S_IFDIR | 0755);
    archive.add("dev/console", S_IFCHR | 0600, {}, 5, 1);
    archive.add("dev/null", S_IFCHR | 0666, {}, 1, 3);
    archive.add("init", S_IFREG | 0755, init);
    const std::string& bytes = archive.finish();
    std::ofstream output(argv[2], std::ios::binary | std::ios::trunc);
    output.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    output.close();
    if (!output) {
        std::cerr << "make_initramfs: can't write " << argv[2] << '\n';
        return 1;
    }
    return 0;
}
