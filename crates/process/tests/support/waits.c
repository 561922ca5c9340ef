/* Waits in a system call, with every register holding something known, and tells what became of
   them: waits KIND

   Prints "ready ADD KEEP" (their addresses) and at the end
   "done RESULT MILLISECONDS REGISTERS SUM TEXT": what the system call returned, how long it took
   in all, whether all registers and the signal mask are as before, the sum of the arguments that
   ADD was called with, and the text that KEEP was called with. */
#define _GNU_SOURCE
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sum;
static char kept[256] = "-";
static uint8_t before[16][16], after[16][16];
static uint64_t general[6];

static void clobber(void)
{
    __asm__ volatile(
        "pcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm1, %%xmm1\n\tpcmpeqd %%xmm2, %%xmm2\n\t"
        "pcmpeqd %%xmm7, %%xmm7\n\tpcmpeqd %%xmm8, %%xmm8\n\tpcmpeqd %%xmm15, %%xmm15\n\t"
        "xor %%edx, %%edx\n\txor %%esi, %%esi\n\txor %%r8d, %%r8d\n\txor %%r9d, %%r9d\n\t"
        "xor %%r10d, %%r10d\n\txor %%r11d, %%r11d"
        ::: "xmm0", "xmm1", "xmm2", "xmm7", "xmm8", "xmm15", "rdx", "rsi", "r8", "r9", "r10", "r11");
}

__attribute__((noinline)) void add(uint64_t number)
{
    /* Faults where the stack is not aligned as a call leaves it. */
    double aligned[2] __attribute__((aligned(16)));
    __asm__ volatile("movaps %%xmm0, %0" : "=m"(aligned));
    clobber();
    sum += number;
}

__attribute__((noinline)) void keep(const char *text)
{
    clobber();
    snprintf(kept, sizeof kept, "%s", text);
}

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long rax __asm__("rax") = number;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile(
        "mov $0x1111, %%r12\n\tmov $0x2222, %%r13\n\tmov $0x3333, %%r14\n\tmov $0x4444, %%r15\n\t"
        "movups (%[in]), %%xmm0\n\tmovups 16(%[in]), %%xmm1\n\tmovups 32(%[in]), %%xmm2\n\t"
        "movups 112(%[in]), %%xmm7\n\tmovups 128(%[in]), %%xmm8\n\tmovups 240(%[in]), %%xmm15\n\t"
        "syscall\n\t"
        "lea after(%%rip), %%r11\n\t"
        "movups %%xmm0, (%%r11)\n\tmovups %%xmm1, 16(%%r11)\n\tmovups %%xmm2, 32(%%r11)\n\t"
        "movups %%xmm7, 112(%%r11)\n\tmovups %%xmm8, 128(%%r11)\n\tmovups %%xmm15, 240(%%r11)\n\t"
        "lea general(%%rip), %%r11\n\t"
        "mov %%r12, (%%r11)\n\tmov %%r13, 8(%%r11)\n\tmov %%r14, 16(%%r11)\n\tmov %%r15, 24(%%r11)\n\t"
        "mov %%rsi, 32(%%r11)\n\tmov %%rdx, 40(%%r11)"
        : "+r"(rax)
        : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9), [in] "b"(before)
        : "rcx", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1", "xmm2", "xmm7", "xmm8",
          "xmm15", "memory");
    return rax;
}

static long wait_in(const char *kind, long *b, long *c)
{
    struct timespec time;
    char byte;
    fd_set none;
    struct timeval limit = {1, 0};
    struct pollfd input = {0, POLLIN, 0};
    static uint32_t word = 7;
    FD_ZERO(&none);
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += 1;
    if (!strcmp(kind, "absolute")) {
        *b = TIMER_ABSTIME, *c = (long)&time;
        return call(SYS_clock_nanosleep, CLOCK_MONOTONIC, *b, *c, 0, 0, 0);
    }
    if (!strcmp(kind, "relative")) {
        struct timespec second = {1, 0};
        *b = 0, *c = (long)&second;
        return call(SYS_clock_nanosleep, CLOCK_MONOTONIC, *b, *c, 0, 0, 0);
    }
    if (!strcmp(kind, "select"))
        return call(SYS_select, 0, *b = (long)&none, *c = 0, 0, (long)&limit, 0);
    if (!strcmp(kind, "poll"))
        return call(SYS_poll, (long)&input, *b = 1, *c = 1000, 0, 0, 0);
    if (!strcmp(kind, "read"))
        return call(SYS_read, 0, *b = (long)&byte, *c = 1, 0, 0, 0);
    if (!strcmp(kind, "futex"))
        return call(SYS_futex, (long)&word, *b = FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, *c = 7,
                    (long)&time, 0, -1);
    if (!strcmp(kind, "pause"))
        return call(SYS_pause, 0, *b = 5, *c = 6, 0, 0, 0);
    return -9999;
}

int main(int argc, char **argv)
{
    struct timespec start, end;
    sigset_t blocked, now;
    long b = 0, c = 0;
    for (int i = 0; i < 16; i++)
        memset(before[i], 0x30 + i, 16);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR2);
    sigprocmask(SIG_SETMASK, &blocked, 0);
    printf("ready %lu %lu\n", (unsigned long)add, (unsigned long)keep);
    fflush(stdout);
    clock_gettime(CLOCK_MONOTONIC, &start);
    long result = wait_in(argc > 1 ? argv[1] : "", &b, &c);
    clock_gettime(CLOCK_MONOTONIC, &end);
    sigprocmask(SIG_SETMASK, 0, &now);
    int used[] = {0, 1, 2, 7, 8, 15}, same = 1;
    for (int i = 0; i < 6; i++)
        same &= !memcmp(before[used[i]], after[used[i]], 16);
    uint64_t expected[] = {0x1111, 0x2222, 0x3333, 0x4444, b, c};
    same &= !memcmp(expected, general, sizeof expected);
    same &= sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1);
    long elapsed = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
    printf("done %ld %ld %d %lu %s\n", result, elapsed, same, sum, kept);
    return 0;
}
