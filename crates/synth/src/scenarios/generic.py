"""What only Python 3.12 and later can say."""

import inspect


def generic_function[T](value: T) -> T:
    rest()
    return value


class Generic[T: (lambda: rest())()]:
    pass


def lazy_bound():
    class Fresh[U: rest()]:
        pass

    return Fresh.__type_params__[0].__bound__


type Alias = rest()


def lazy_alias():
    type Local = [rest() for _ in (1,)]
    return Local.__value__


def buffer():
    class Buffer:
        def __buffer__(self, flags):
            rest()
            return memoryview(b"x")

    return bytes(memoryview(Buffer()))


def annotations():
    def annotated(value: rest()):
        pass

    return inspect.get_annotations(annotated)


start(lambda: generic_function(1), "generic_function")
for scene in (lazy_bound, lazy_alias, buffer, annotations):
    start(scene)
