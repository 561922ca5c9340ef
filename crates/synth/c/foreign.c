/* A Python module, `foreign`, whose code waits in its own way: it gives the GIL away and does not
 * begin again when something ends the wait.
 *
 *     foreign.wait(MILLISECONDS) -> what poll returned, or -errno
 */
#define Py_LIMITED_API 0x03080000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <poll.h>

static PyObject *foreign_wait(PyObject *self, PyObject *argument)
{
    (void)self;
    long result = PyLong_AsLong(argument);
    if (result == -1 && PyErr_Occurred())
        return NULL;
    int milliseconds = (int)result;
    Py_BEGIN_ALLOW_THREADS
    result = poll(NULL, 0, milliseconds);
    if (result < 0)
        result = -errno;
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(result);
}

static PyMethodDef methods[] = {
    {"wait", foreign_wait, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "foreign",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit_foreign(void)
{
    return PyModuleDef_Init(&module);
}
