/* A program of another kind with Python in it.
 *
 *     embed PYTHONHOME FILE
 *
 * Runs the Python in FILE by PyRun_SimpleString; never calls Py_RunMain, so the interpreter
 * has no main thread of that making. Ends with 1 if the Python raised.
 */
#include <Python.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: embed PYTHONHOME FILE\n");
        return 2;
    }
    char *text = contents(argv[2]);
    if (!text) {
        perror(argv[2]);
        return 2;
    }
    /* The variable and not PyConfig, so that any version from 3.8 on can be embedded. */
    setenv("PYTHONHOME", argv[1], 1);
    Py_Initialize();
    int failed = PyRun_SimpleString(text);
    if (Py_FinalizeEx() < 0 || failed)
        return 1;
    return 0;
}
