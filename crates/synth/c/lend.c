/* Thread states that others use than made them, as embedding programs with thread pools have it.
 *
 *     lend(TEXT)           makes a thread state and lends it to a thread of C, which runs TEXT with it
 *     pool(N, M, TEXT)     makes M thread states, which N threads of C use in turn: each runs TEXT,
 *                          and gives its state back
 *
 * A library for ctypes.PyDLL, without Python's headers, so that one serves every version. What runs
 * TEXT never comes back by itself; an exception in it ends the process with status 4.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void (*restore)(void *);
static void *(*save)(void);
static int (*run)(const char *);
static void *(*new_state)(void *);
static void *(*interpreter)(void);

static void *loan;
static char *loan_text, *pool_text;

enum { MAX_STATES = 16 };
static void *states[MAX_STATES];
static int state_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t given_back = PTHREAD_COND_INITIALIZER;

static void find(void)
{
    *(void **)&restore = dlsym(RTLD_DEFAULT, "PyEval_RestoreThread");
    *(void **)&save = dlsym(RTLD_DEFAULT, "PyEval_SaveThread");
    *(void **)&run = dlsym(RTLD_DEFAULT, "PyRun_SimpleString");
    *(void **)&new_state = dlsym(RTLD_DEFAULT, "PyThreadState_New");
    *(void **)&interpreter = dlsym(RTLD_DEFAULT, "PyInterpreterState_Main");
    if (!restore || !save || !run || !new_state || !interpreter)
        _exit(5);
}

static char *copy(const char *text)
{
    size_t size = 1;
    while (text[size - 1])
        size++;
    char *own = malloc(size);
    if (!own)
        _exit(5);
    for (size_t at = 0; at < size; at++)
        own[at] = text[at];
    return own;
}

static void begin(void *(*what)(void *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, what, NULL))
        _exit(5);
}

static void *borrow(void *nothing)
{
    restore(loan);
    if (run(loan_text))
        _exit(4);
    return nothing;
}

int lend(const char *text)
{
    find();
    loan_text = copy(text);
    loan = new_state(interpreter());
    begin(borrow);
    return 0;
}

static void *take_turns(void *nothing)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        while (!state_count)
            pthread_cond_wait(&given_back, &lock);
        void *state = states[--state_count];
        pthread_mutex_unlock(&lock);
        restore(state);
        if (run(pool_text))
            _exit(4);
        save();
        pthread_mutex_lock(&lock);
        states[state_count++] = state;
        pthread_cond_signal(&given_back);
        pthread_mutex_unlock(&lock);
    }
    return nothing;
}

int pool(int threads, int count, const char *text)
{
    if (count > MAX_STATES)
        return -1;
    find();
    pool_text = copy(text);
    while (state_count < count)
        states[state_count++] = new_state(interpreter());
    for (int thread = 0; thread < threads; thread++)
        begin(take_turns);
    return 0;
}
