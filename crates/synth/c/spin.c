/* Threads that use processors and know nothing of Python, for a program to load as a library.
 *
 * start(N) begins N threads that compute without end. burst(MILLISECONDS) has another one compute
 * for so much processor time, and comes back when it has ended. */
#include <pthread.h>
#include <time.h>

static void *forever(void *nothing) {
    (void)nothing;
    for (volatile unsigned long count = 0;; count++) {
    }
    return NULL;
}

static void *for_a_while(void *milliseconds) {
    struct timespec now;
    do {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    } while (now.tv_sec * 1000 + now.tv_nsec / 1000000 < *(int *)milliseconds);
    return NULL;
}

int start(int count) {
    pthread_t thread;
    for (; count > 0; count--) {
        int failed = pthread_create(&thread, NULL, forever, NULL);
        if (failed) return failed;
        pthread_detach(thread);
    }
    return 0;
}

int burst(int milliseconds) {
    pthread_t thread;
    int failed = pthread_create(&thread, NULL, for_a_while, &milliseconds);
    return failed ? failed : pthread_join(thread, NULL);
}
