/* A program with two Pythons in it, each in a thread of its own.
 *
 *     pair LIBRARY PYTHONHOME FILE LIBRARY PYTHONHOME FILE
 *
 * Runs the Python in each FILE, which writes a byte to the descriptor in $PAIR_READY once it is
 * ready. Says "ready" when both are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char *contents(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        return NULL;
    long size = ftell(file);
    rewind(file);
    char *text = size < 0 ? NULL : calloc((size_t)size + 1, 1);
    if (text && fread(text, 1, (size_t)size, file) != (size_t)size)
        text = NULL;
    fclose(file);
    return text;
}

static void *run(void *words)
{
    char **word = words;
    char *text = contents(word[2]);
    /* Each has its own names to itself. */
    void *library = dlopen(word[0], RTLD_NOW | RTLD_LOCAL);
    if (!text || !library) {
        fprintf(stderr, "%s\n", text ? dlerror() : word[2]);
        exit(2);
    }
    void (*initialize)(int) = (void (*)(int))dlsym(library, "Py_InitializeEx");
    int (*run_string)(const char *, void *) =
        (int (*)(const char *, void *))dlsym(library, "PyRun_SimpleStringFlags");
    setenv("PYTHONHOME", word[1], 1);
    initialize(0);
    exit(run_string(text, NULL) ? 1 : 0);
}

int main(int argc, char **argv)
{
    int ends[2];
    char number[16];
    if (argc != 7 || pipe(ends)) {
        fprintf(stderr, "usage: pair LIBRARY PYTHONHOME FILE LIBRARY PYTHONHOME FILE\n");
        return 2;
    }
    snprintf(number, sizeof number, "%d", ends[1]);
    setenv("PAIR_READY", number, 1);
    for (int index = 1; index < argc; index += 3) {
        pthread_t thread;
        char byte;
        /* One after the other: they share the environment. */
        if (pthread_create(&thread, NULL, run, argv + index) || read(ends[0], &byte, 1) != 1)
            return 2;
    }
    puts("ready");
    fflush(stdout);
    for (;;)
        pause();
}
