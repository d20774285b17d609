/* A stand-in for NVIDIA's management library, as much of it as the tests need.
 *
 * The file named by STANDIN_GPUS is read again at each call; its lines, fields separated by tabs:
 *   init CODE GENERATION                  what nvmlInit returns; the driver is another one whenever GENERATION changes,
 *                                         and answers those alone who have called nvmlInit since
 *   gpu  UUID NAME TOTAL USED LOAD LOST   LOST 1: it has fallen off the bus; bytes and percent
 *   proc GPU PID BYTES                    a process on a whole GPU (its number)
 *   mig  GPU UUID TOTAL USED              an instance of a GPU in MIG mode
 *   migproc UUID PID BYTES
 *   live GPU PID BYTES                    a process that is shown, and its memory counted, until it ends
 * A handle is the number of its line (from 1). -DOLD leaves out what drivers before 510 lack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID = 2, NOT_FOUND = 6, SMALL = 7, DRIVER_GONE = 999, LOST = 15, LINES = 1024, FIELD = 96 };
#define RESERVED 600000000ULL

typedef struct { char kind[16]; char field[6][FIELD]; int fields; } line_t;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } process_t;

static line_t lines[LINES];
static int count, started = -1;

static void load(void) {
    char text[1024], *rest, *word;
    const char *path = getenv("STANDIN_GPUS");
    FILE *file = path ? fopen(path, "r") : NULL;
    count = 0;
    while (file && count < LINES && fgets(text, sizeof text, file)) {
        line_t *line = &lines[count];
        memset(line, 0, sizeof *line);
        text[strcspn(text, "\n")] = 0;
        word = strtok_r(text, "\t", &rest);
        if (!word) continue;
        snprintf(line->kind, sizeof line->kind, "%s", word);
        while (line->fields < 6 && (word = strtok_r(NULL, "\t", &rest)))
            snprintf(line->field[line->fields++], FIELD, "%s", word);
        count++;
    }
    if (file) fclose(file);
}

static int is(int at, const char *kind) { return strcmp(lines[at].kind, kind) == 0; }

static line_t *nth(const char *kind, int number) {
    for (int at = 0; at < count; at++)
        if (is(at, kind) && number-- == 0) return &lines[at];
    return NULL;
}

static int generation(void) {
    line_t *line = nth("init", 0);
    return line && line->fields > 1 ? atoi(line->field[1]) : 0;
}

/* What a call that needs the driver returns before anything else; nvmlInit counts the starts, as the real one does. */
static int answers(void) { return started < 0 ? UNINITIALIZED : started == generation() ? SUCCESS : DRIVER_GONE; }

static line_t *device(void *handle) {
    load();
    long at = (long)handle - 1;
    return at >= 0 && at < count && (is(at, "gpu") || is(at, "mig")) ? &lines[at] : NULL;
}

static int number_of(line_t *gpu) {
    int number = 0;
    for (int at = 0; &lines[at] < gpu; at++) number += is(at, "gpu");
    return number;
}

static int whole(line_t *line) { return strcmp(line->kind, "gpu") == 0; }
static int lost(line_t *line) { return !line || (whole(line) && atoi(line->field[5])); }
static unsigned long long bytes(line_t *line, int at) { return strtoull(line->field[at], NULL, 10); }

static int lives(const char *pid) {
    char path[64], text[512], *end;
    snprintf(path, sizeof path, "/proc/%d/stat", atoi(pid));
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = 0;
    end = strrchr(text, ')');
    return end && end[2] != 'Z' && end[2] != 'X';
}

/* Whether line AT is a process on this whole GPU. */
static int runs_on(int at, line_t *gpu) {
    if (!(is(at, "proc") || is(at, "live")) || atoi(lines[at].field[0]) != number_of(gpu)) return 0;
    return is(at, "proc") || lives(lines[at].field[1]);
}

static unsigned long long used(line_t *line) {
    unsigned long long found = bytes(line, 3);
    for (int at = 0; whole(line) && at < count; at++)
        if (is(at, "live") && runs_on(at, line)) found += bytes(&lines[at], 2);
    return found;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    load();
    line_t *line = nth("init", 0);
    int code = line ? atoi(line->field[0]) : SUCCESS;
    if (code == SUCCESS && started < 0) started = generation();
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { started = -1; return SUCCESS; }

const char *nvmlErrorString(int code) {
    return code == 9 ? "Driver Not Loaded" : code == 18 ? "Driver/library version mismatch" : "some error";
}

int nvmlDeviceGetCount_v2(unsigned *found) {
    load();
    *found = 0;
    for (int at = 0; at < count; at++) *found += is(at, "gpu");
    return answers();
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    load();
    line_t *line = nth("gpu", (int)index);
    if (answers() != SUCCESS) return answers();
    if (!line) return INVALID;
    *handle = (void *)(line - lines + 1);
    return lost(line) ? LOST : SUCCESS;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned length) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    snprintf(text, length, "%s", whole(line) ? line->field[0] : line->field[1]);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned length) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    snprintf(text, length, "%s", whole(line) ? line->field[1] : "Stand-in MIG 1g.10gb");
    return SUCCESS;
}

int nvmlDeviceGetMinorNumber(void *handle, unsigned *minor) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    *minor = (unsigned)number_of(line);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(void *handle, unsigned long long *info) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    unsigned long long reserved = 0;
#ifndef OLD
    reserved = RESERVED; /* the first version counts what the driver keeps for itself as used */
#endif
    info[0] = bytes(line, 2);
    info[2] = used(line) + reserved;
    info[1] = info[0] - info[2];
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    rates[0] = rates[1] = (unsigned)atoi(line->field[4]);
    return SUCCESS;
}

static int processes(void *handle, unsigned *room, process_t *found) {
    line_t *line = device(handle);
    unsigned have = 0;
    if (lost(line)) return LOST;
    for (int at = 0; at < count; at++) {
        int here = whole(line) ? runs_on(at, line)
                               : is(at, "migproc") && strcmp(lines[at].field[0], line->field[1]) == 0;
        if (!here) continue;
        if (found && have < *room)
            found[have] = (process_t){(unsigned)atoi(lines[at].field[1]), bytes(&lines[at], 2), ~0u, ~0u};
        have++;
    }
    int fits = have <= *room && (found || !have);
    *room = have;
    return fits ? SUCCESS : SMALL;
}

int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, unsigned *room, process_t *found) {
    return processes(handle, room, found);
}

#ifndef OLD
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *room, process_t *found) {
    return processes(handle, room, found);
}

typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *info) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    info->total = bytes(line, 2);
    info->reserved = RESERVED;
    info->used = used(line);
    info->free = info->total - info->used - info->reserved;
    return SUCCESS;
}

static line_t *instance(line_t *gpu, int slot) {
    for (int at = 0; at < count; at++)
        if (is(at, "mig") && atoi(lines[at].field[0]) == number_of(gpu) && slot-- == 0) return &lines[at];
    return NULL;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *now, unsigned *later) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    *now = *later = whole(line) && instance(line, 0) != NULL;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *found) {
    *found = 7;
    return lost(device(handle)) ? LOST : SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned slot, void **found) {
    line_t *line = device(handle);
    if (lost(line)) return LOST;
    line_t *part = instance(line, (int)slot);
    if (!part) return NOT_FOUND;
    *found = (void *)(part - lines + 1);
    return SUCCESS;
}
#endif
