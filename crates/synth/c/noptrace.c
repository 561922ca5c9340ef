/* Runs a program that is refused system calls, as some containers do.
 *
 *     noptrace [ptrace] [vm] -- PROGRAM [ARGUMENT...]
 *
 * ptrace  ptrace fails with EPERM
 * vm      process_vm_readv and process_vm_writev fail with EPERM
 *
 * no_new_privs is set only where the kernel demands it. Ends with 125 when the program could
 * not be started.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#else
#error "unknown architecture"
#endif

static struct sock_filter filter[16];
static unsigned short length;

static void add(unsigned short code, unsigned char jt, unsigned char jf, unsigned int k)
{
    filter[length++] = (struct sock_filter){code, jt, jf, k};
}

static void refuse(unsigned int number)
{
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number);
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM);
}

int main(int argc, char **argv)
{
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, NATIVE);
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, nr));
    int word = 1;
    for (; word < argc && strcmp(argv[word], "--"); word++) {
        if (!strcmp(argv[word], "ptrace")) {
            refuse(SYS_ptrace);
        } else if (!strcmp(argv[word], "vm")) {
            refuse(SYS_process_vm_readv);
            refuse(SYS_process_vm_writev);
        } else {
            fprintf(stderr, "noptrace: what is %s?\n", argv[word]);
            return 125;
        }
        if (word > 2) {
            fprintf(stderr, "noptrace: too many words before --\n");
            return 125;
        }
    }
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    if (word + 1 >= argc) {
        fprintf(stderr, "usage: noptrace [ptrace] [vm] -- PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    struct sock_fprog program = {length, filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
        if (errno != EACCES || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)) {
            perror("noptrace: seccomp");
            return 125;
        }
    }
    execvp(argv[word + 1], argv + word + 1);
    perror(argv[word + 1]);
    return 125;
}
