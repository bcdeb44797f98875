/* A FAKE libnvidia-ml.so.1 for tests: it drives no device. It says what the file named by FAKE_NVML says, so that
 * the agent's calls go through the real C interface of NVML. One record a line, fields apart by '|':
 *
 *   init|<code>                                     what nvmlInitWithFlags answers
 *   gpu|<uuid>|<name>|<total MiB>|<used MiB>|<utilisation>|<milliwatts>|<celsius>|<error>|<mig: 0, 1>
 *   mig|<gpu index>|<uuid>|<name>|<total MiB>|<used MiB>|<gpu instance>|<compute instance>
 *   process|<uuid>|<pid>
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 32
enum { OK = 0, BAD = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };

typedef struct {
    char uuid[96], name[96];
    unsigned long long total, used;
    unsigned util, milliwatts, celsius, error, mig, parent, gi, ci, index;
} device;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;

static device gpus[MOST], slices[MOST];
static struct { char uuid[96]; unsigned pid; } running[MOST * 4];
static int gpu_count, slice_count, running_count, init_code;

static int is_slice(device *d) { return d >= slices && d < slices + MOST; }

int nvmlInitWithFlags(unsigned flags) {
    char line[512];
    FILE *file = fopen(getenv("FAKE_NVML") ? getenv("FAKE_NVML") : "", "r");
    gpu_count = slice_count = running_count = init_code = 0;
    if (!file) return 9;
    while (fgets(line, sizeof line, file)) {
        device d;
        memset(&d, 0, sizeof d);
        if (sscanf(line, "init|%d", &init_code) == 1) continue;
        if (sscanf(line, "gpu|%95[^|]|%95[^|]|%llu|%llu|%u|%u|%u|%u|%u", d.uuid, d.name, &d.total, &d.used, &d.util,
                   &d.milliwatts, &d.celsius, &d.error, &d.mig) == 9) {
            d.index = gpu_count;
            gpus[gpu_count++] = d;
        } else if (sscanf(line, "mig|%u|%95[^|]|%95[^|]|%llu|%llu|%u|%u", &d.parent, d.uuid, d.name, &d.total, &d.used,
                          &d.gi, &d.ci) == 7) {
            slices[slice_count++] = d;
        } else if (sscanf(line, "process|%95[^|]|%u", running[running_count].uuid, &running[running_count].pid) == 2) {
            running_count++;
        }
    }
    fclose(file);
    return init_code;
}
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "550.54.15"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = gpu_count; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **d) {
    if (index >= (unsigned)gpu_count) return BAD;
    if (gpus[index].error) return gpus[index].error;
    *d = &gpus[index];
    return OK;
}
int nvmlDeviceGetUUID(device *d, char *text, unsigned length) { snprintf(text, length, "%s", d->uuid); return OK; }
int nvmlDeviceGetName(device *d, char *text, unsigned length) { snprintf(text, length, "%s", d->name); return OK; }
int nvmlDeviceGetMinorNumber(device *d, unsigned *n) { *n = d->index; return is_slice(d) ? UNSUPPORTED : OK; }
int nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor) {
    *major = 9, *minor = 0;
    return is_slice(d) ? UNSUPPORTED : OK;
}
int nvmlDeviceGetMemoryInfo(device *d, memory *m) {
    m->total = d->total << 20, m->used = d->used << 20, m->free = m->total - m->used;
    return OK;
}
int nvmlDeviceGetUtilizationRates(device *d, rates *r) {
    r->gpu = d->util, r->memory = 0;
    return is_slice(d) || d->mig ? UNSUPPORTED : OK;
}
int nvmlDeviceGetPowerUsage(device *d, unsigned *milliwatts) { *milliwatts = d->milliwatts; return is_slice(d) ? UNSUPPORTED : OK; }
int nvmlDeviceGetTemperature(device *d, unsigned sensor, unsigned *celsius) {
    *celsius = d->celsius;
    return d->celsius ? OK : UNSUPPORTED;
}
int nvmlDeviceGetMigMode(device *d, unsigned *now, unsigned *later) { *now = *later = d->mig; return OK; }
int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *count) { *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(device *whole, unsigned index, device **d) {
    int i;
    unsigned seen = 0;
    for (i = 0; i < slice_count; i++)
        if (slices[i].parent == whole->index && seen++ == index) { *d = &slices[i]; return OK; }
    return NOT_FOUND;
}
int nvmlDeviceGetGpuInstanceId(device *d, unsigned *id) { *id = d->gi; return OK; }
int nvmlDeviceGetComputeInstanceId(device *d, unsigned *id) { *id = d->ci; return OK; }
int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned *count, process *found) {
    int i;
    unsigned n = 0, room = found ? *count : 0;
    for (i = 0; i < running_count; i++)
        if (!strcmp(running[i].uuid, d->uuid)) {
            if (n < room) found[n].pid = running[i].pid, found[n].used = 1 << 20;
            n++;
        }
    *count = n;
    return n > room ? TOO_SMALL : OK;
}
const char *nvmlErrorString(int code) {
    switch (code) {
    case 9: return "Driver Not Loaded";
    case 15: return "GPU is lost";
    case 18: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}
