/* A process to look into, in the situation that its first argument names.
 *
 * It prints one line, "ready" and the addresses that the test needs, as soon as it is in that
 * situation, and ends when its standard input does. */

#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

static _Atomic uint64_t counter;

static void *end_with_input(void *unused) {
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    _exit(0);
    return unused;
}

static void *count(void *unused) {
    for (;;)
        counter++;
    return unused;
}

static void *rest(void *unused) {
    for (;;)
        pause();
    return unused;
}

static void *nothing(void *unused) {
    counter++;
    return unused;
}

static void start(void *(*body)(void *)) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    /* A churning process may meet its limit for a moment. */
    pthread_create(&thread, &attributes, body, NULL);
    pthread_attr_destroy(&attributes);
}

static void *churn(void *unused) {
    for (;;)
        start(nothing);
    return unused;
}

/* Each thread starts its successor and ends. */
static void *relay(void *unused) {
    counter++;
    start(relay);
    return unused;
}

static void ready(void *first, void *second) {
    printf("ready %llu %llu\n", (unsigned long long)first, (unsigned long long)second);
    fflush(stdout);
}

static void on_signal(int signal) {
    (void)signal;
    counter++;
}

static char *self;
static char *round_text;

/* Runs the program anew, from a thread that is not the first, with others about. */
static void *anew(void *shared) {
    usleep(1000);
    char *arguments[] = {self, "exec", round_text, NULL};
    execv("/proc/self/exe", arguments);
    return shared;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    prctl(PR_SET_PDEATHSIG, SIGKILL);

    if (!strcmp(mode, "busy")) {
        start(end_with_input);
        ready(&counter, NULL);
        count(NULL);
    } else if (!strcmp(mode, "single")) {
        /* One thread only; ends with its parent. */
        ready(&counter, NULL);
        count(NULL);
    } else if (!strcmp(mode, "asleep")) {
        ready(&counter, NULL);
        end_with_input(NULL);
    } else if (!strcmp(mode, "threads")) {
        int wanted = atoi(argv[2]);
        for (int i = 0; i < wanted; i++)
            start(i ? rest : count);
        ready(&counter, NULL);
        end_with_input(NULL);
    } else if (!strcmp(mode, "churn")) {
        start(churn);
        start(churn);
        for (int i = 0; i < 4; i++)
            start(relay);
        ready(&counter, NULL);
        end_with_input(NULL);
    } else if (!strcmp(mode, "leaderless")) {
        start(end_with_input);
        start(count);
        ready(&counter, NULL);
        pthread_exit(NULL);
    } else if (!strcmp(mode, "vfork")) {
        start(end_with_input);
        start(count);
        ready(&counter, NULL);
        if (vfork() == 0) {
            /* Shares our memory, and we can't go on until it has ended. */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            rest(NULL);
        }
    } else if (!strcmp(mode, "signals")) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
        sigaction(SIGRTMIN, &action, NULL);
        start(end_with_input);
        ready(&counter, NULL);
        for (;;)
            pause();
    } else if (!strcmp(mode, "exec")) {
        /* A shared file counts the rounds, since memory does not outlive them. */
        self = argv[0];
        round_text = argv[2];
        int file = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ftruncate(file, sizeof counter);
        _Atomic uint64_t *rounds =
            mmap(NULL, sizeof counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if ((*rounds)++ == 0)
            ready(&counter, NULL);
        start(end_with_input);
        start(count);
        start(rest);
        start(anew);
        rest(NULL);
    } else if (!strcmp(mode, "pages")) {
        /* Readable, nothing, read-only. */
        long size = sysconf(_SC_PAGESIZE);
        char *pages = mmap(NULL, 3 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(pages, 'a', size);
        memset(pages + 2 * size, 'c', size);
        munmap(pages + size, size);
        mprotect(pages + 2 * size, size, PROT_READ);
        ready(pages, &counter);
        end_with_input(NULL);
    } else if (!strcmp(mode, "chroot")) {
        if (chroot(argv[2]) != 0 || chdir("/") != 0)
            return 1;
        ready(&counter, NULL);
        end_with_input(NULL);
    }
    return 2;
}
