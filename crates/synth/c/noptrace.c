/* Runs a program that is refused system calls, as some containers do.
 *
 *     noptrace [ptrace] [vm] [harm] -- PROGRAM [ARGUMENT...]
 *
 * ptrace  ptrace fails with EPERM
 * vm      process_vm_readv and process_vm_writev fail with EPERM
 * harm    what stops another process, signals it, writes to its memory or opens a file for
 *         writing ends the program with SIGSYS (openat2 aside, whose flags no filter sees)
 *
 * no_new_privs is set only where the kernel demands it. Ends with 125 when the program could
 * not be started.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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

static struct sock_filter filter[64];
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

static void end_at(unsigned int number)
{
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number);
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
}

/* Ends the program where it opens a file for more than reading. */
static void end_at_open(unsigned int number, unsigned int flags)
{
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, number);
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, args) + flags * 8);
    add(BPF_JMP | BPF_JSET | BPF_K, 0, 1, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC);
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS);
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
}

static void end_at_harm(void)
{
    end_at(SYS_ptrace);
    end_at(SYS_process_vm_writev);
    end_at(SYS_pidfd_send_signal);
    end_at(SYS_kill);
    end_at(SYS_tkill);
    end_at(SYS_tgkill);
    end_at(SYS_rt_sigqueueinfo);
    end_at(SYS_rt_tgsigqueueinfo);
    end_at_open(SYS_openat, 2);
#ifdef SYS_open
    end_at_open(SYS_open, 1);
#endif
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
        } else if (!strcmp(argv[word], "harm")) {
            end_at_harm();
        } else {
            fprintf(stderr, "noptrace: what is %s?\n", argv[word]);
            return 125;
        }
        if (word > 3) {
            fprintf(stderr, "noptrace: too many words before --\n");
            return 125;
        }
    }
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);
    if (word + 1 >= argc) {
        fprintf(stderr, "usage: noptrace [ptrace] [vm] [harm] -- PROGRAM [ARGUMENT...]\n");
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
