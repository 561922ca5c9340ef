/* Runs a program and kills it, or another process, at the entry of its N-th system call.
 *
 *     killat [-p PID | -s SIGNAL | -d] N REPORT PROGRAM [ARGUMENT...]
 *
 * Counted from the return of execve, over all threads, in the order in which the kernel enters
 * them; the call that is reached is not carried out. N = 0 never kills. Writes one line to the
 * file REPORT: "killed COUNT NUMBER" (the system call's number) or "ended COUNT STATUS", and
 * ends with 137 after a kill, otherwise as the program did. 125: the program was not started.
 *
 * With -p the process PID is killed, and the program goes on once that has ended.
 *
 * With -s only calls that change what a signal does (rt_sigaction) count, and at the N-th of them the
 * program is sent this signal and goes on: the call is carried out, and unless it is blocked the
 * signal comes before the next instruction. REPORT says "sent COUNT STATUS" then, or
 * "ended-by-it COUNT STATUS" where the signal has ended it, as it does by default.
 *
 * With -d counting begins with the first directory that the program makes (mkdirat).
 *
 * The program may trace others itself. Processes that it forks are not followed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int failed, const char *what)
{
    if (failed) {
        fprintf(stderr, "killat: %s: %s\n", what, strerror(errno));
        exit(125);
    }
}

static int report(const char *path, const char *how, long count, long detail)
{
    FILE *file = fopen(path, "w");
    check(!file, path);
    fprintf(file, "%s %ld %ld\n", how, count, detail);
    check(fclose(file), path);
    return strcmp(how, "killed") ? (int)detail : 128 + SIGKILL;
}

/* Whether the thread stands at the entry of a system call, and of which. */
static int at_entry(pid_t thread, long *number)
{
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof info, &info) <= 0)
        return 0;
    *number = (long)info.entry.nr;
    return info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

static void end(pid_t process)
{
    struct pollfd held = {.fd = (int)syscall(SYS_pidfd_open, process, 0), .events = POLLIN};
    check(held.fd < 0, "pidfd_open");
    check(kill(process, SIGKILL) != 0, "kill");
    check(poll(&held, 1, -1) != 1, "wait for its end");
    close(held.fd);
}

static pid_t start(char **words)
{
    pid_t program = fork();
    check(program < 0, "fork");
    if (program == 0) {
        check(ptrace(PTRACE_TRACEME, 0, 0, 0) != 0, "PTRACE_TRACEME");
        raise(SIGSTOP);
        execvp(words[0], words);
        check(1, words[0]);
    }
    int status;
    check(waitpid(program, &status, 0) < 0 || !WIFSTOPPED(status), "wait for the start");
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    check(ptrace(PTRACE_SETOPTIONS, program, 0, options) != 0, "PTRACE_SETOPTIONS");
    check(ptrace(PTRACE_CONT, program, 0, 0) != 0, "PTRACE_CONT");
    return program;
}

int main(int argc, char **argv)
{
    pid_t other = 0;
    int wanted = 0, sent = 0, begun = 1;
    if (argc > 1 && !strcmp(argv[1], "-d")) {
        begun = 0;
        argc -= 1;
        argv += 1;
    } else if (argc > 2 && (!strcmp(argv[1], "-p") || !strcmp(argv[1], "-s"))) {
        if (argv[1][1] == 'p')
            other = (pid_t)atol(argv[2]);
        else
            wanted = atoi(argv[2]);
        argc -= 2;
        argv += 2;
    }
    if (argc < 4) {
        fprintf(stderr, "usage: killat [-p PID | -s SIGNAL | -d] N REPORT PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    long aim = atol(argv[1]), count = 0, number = 0, killed = -1;
    int executed = 0;
    pid_t program = start(argv + 3);
    for (;;) {
        int status;
        pid_t thread = waitpid(-1, &status, __WALL);
        if (thread < 0 && errno == EINTR)
            continue;
        check(thread < 0, "wait");
        if (!WIFSTOPPED(status)) {
            if (thread != program)
                continue;
            if (killed >= 0)
                return report(argv[2], "killed", count, killed);
            int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
            if (!executed)
                return 125;
            int by_it = sent && WIFSIGNALED(status) && WTERMSIG(status) == wanted;
            return report(argv[2], by_it ? "ended-by-it" : sent ? "sent" : "ended", count, code);
        }
        int signal = WSTOPSIG(status), event = status >> 16;
        if (signal == (SIGTRAP | 0x80)) {
            signal = 0;
            int counts = executed && killed < 0 && at_entry(thread, &number) &&
                         (!wanted || number == SYS_rt_sigaction);
            begun = begun || (counts && number == SYS_mkdirat);
            int reached = counts && begun && ++count == aim;
            if (reached && other) {
                end(other);
            } else if (reached && wanted) {
                sent = 1;
                check(kill(program, wanted) != 0, "kill");
            } else if (reached) {
                killed = number;
                kill(program, SIGKILL);
                continue;
            }
        } else if (event == PTRACE_EVENT_EXEC) {
            executed = 1;
            signal = 0;
        } else if (event || signal == SIGSTOP) {
            /* A thread's birth shows as an event in one and a stop in the other. */
            signal = 0;
        }
        /* Fails where the thread has been killed meanwhile: its end is reported next. */
        ptrace(executed ? PTRACE_SYSCALL : PTRACE_CONT, thread, 0, signal);
    }
}
