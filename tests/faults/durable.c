/* What a reset of the machine leaves: preloaded into every process, this keeps a copy of what fsync(2) was called for.
 *
 * DURABLE_ROOT is the folder that is watched, DURABLE_KEPT where the copies go: for a file its bytes, for a folder the
 * names in it ("KEY d|f NAME"), each under the key of its inode (its number and birth, since numbers are used again).
 * Nothing else survives (tests/faults/durable.py puts a tree together from it): the most forgetful file system that
 * POSIX allows. DURABLE_BOOT is read in place of the kernel's boot id, so that a reset can have one of its own. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4200, CHUNK = 65536 };
static const char BOOT[] = "/proc/sys/kernel/random/boot_id";

static int key_of(int folder, const char *name, int flags, char *key, size_t size, int *mode) {
    struct statx found;
    if (statx(folder, name, flags | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &found) != 0) return -1;
    snprintf(key, size, "%llx-%llx-%x", (unsigned long long)found.stx_ino,
             (unsigned long long)found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
    *mode = found.stx_mode;
    return 0;
}

static int write_all(int to, const char *text, size_t length) {
    while (length) {
        ssize_t done = write(to, text, length);
        if (done < 0) return -1;
        text += done;
        length -= (size_t)done;
    }
    return 0;
}

static int copy_file(int from, int to) {
    static __thread char chunk[CHUNK];
    off_t at = 0;
    for (;;) {
        ssize_t have = pread(from, chunk, sizeof chunk, at);
        if (have <= 0) return (int)have;
        if (write_all(to, chunk, (size_t)have)) return -1;
        at += have;
    }
}

static int list_folder(int from, int to) {
    DIR *folder = fdopendir(dup(from));
    struct dirent *entry;
    int wrong = folder == NULL;
    while (!wrong && (entry = readdir(folder))) {
        char key[80], line[PATH];
        int mode;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (key_of(from, entry->d_name, 0, key, sizeof key, &mode)) continue; /* gone meanwhile */
        int length = snprintf(line, sizeof line, "%s %c %s\n", key, S_ISDIR(mode) ? 'd' : 'f', entry->d_name);
        wrong = write_all(to, line, (size_t)length);
    }
    if (folder) closedir(folder);
    return wrong;
}

static void keep(int fd) {
    const char *root = getenv("DURABLE_ROOT"), *kept = getenv("DURABLE_KEPT");
    char self[64], path[PATH], key[80], beside[PATH], target[PATH];
    int mode, before = errno;
    if (!root || !kept) return;
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(self, path, sizeof path - 1);
    size_t prefix = strlen(root);
    if (length < 0) return;
    path[length] = 0;
    if (strncmp(path, root, prefix) || (path[prefix] && path[prefix] != '/')) return;
    if (key_of(fd, "", AT_EMPTY_PATH, key, sizeof key, &mode)) return;
    /* A descriptor that can be read is used as it is: to close a second one would drop SQLite's locks on the file. */
    int opened = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY ? open(self, O_RDONLY | O_CLOEXEC) : fd;
    if (opened < 0) return;
    snprintf(target, sizeof target, "%s/%s", kept, key);
    snprintf(beside, sizeof beside, "%s/.%s.%d", kept, key, gettid());
    int to = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (to >= 0) {
        int wrong = S_ISDIR(mode) ? list_folder(opened, to) : copy_file(opened, to);
        fchmod(to, (mode_t)mode & 07777);
        close(to);
        if (wrong || rename(beside, target)) unlink(beside);
    }
    if (opened != fd) close(opened);
    errno = before;
}

typedef int (*sync_t)(int);
typedef int (*open_t)(const char *, int, ...);

static int synced(int fd, const char *how) {
    int done = ((sync_t)dlsym(RTLD_NEXT, how))(fd);
    if (done == 0) keep(fd);
    return done;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

static const char *other(const char *path) {
    const char *boot = getenv("DURABLE_BOOT");
    return boot && path && strcmp(path, BOOT) == 0 ? boot : path;
}

#define OPEN(name)                                                                    \
    int name(const char *path, int flags, ...) {                                      \
        static open_t real;                                                           \
        if (!real) real = (open_t)dlsym(RTLD_NEXT, #name);                            \
        va_list rest;                                                                 \
        va_start(rest, flags);                                                        \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;             \
        va_end(rest);                                                                 \
        return real(other(path), flags, mode);                                        \
    }
OPEN(open)
OPEN(open64)
