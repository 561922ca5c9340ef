"""Exceptions that are being handled while the scene rests."""


def in_except():
    try:
        raise ValueError("one")
    except ValueError as error:
        rest()
        return error


def in_finally_with_exception():
    try:
        try:
            raise KeyError("two")
        finally:
            rest()
    except KeyError:
        pass


def in_finally_without():
    try:
        pass
    finally:
        rest()


def in_else():
    try:
        pass
    except ValueError:
        pass
    else:
        rest()


def nested():
    try:
        raise ValueError("outer")
    except ValueError:
        try:
            raise TypeError("inner")
        except TypeError:
            called_by_handler()


def called_by_handler():
    return [rest() for _ in range(1)]


def after_except():
    try:
        raise ValueError
    except ValueError:
        pass
    rest()


def generator_with_its_own():
    def generate():
        try:
            raise ValueError("in the generator")
        except ValueError:
            yield 1
            yield 2

    generator = generate()
    next(generator)
    # The generator handles an exception, its caller does not.
    rest()
    return generator


def inside_generator_with_its_own():
    def generate():
        try:
            raise ValueError("in the generator")
        except ValueError:
            rest()
            yield 1

    return list(generate())


def handler_calls_generator():
    def generate():
        yield rest()

    try:
        raise ValueError("outside")
    except ValueError:
        return list(generate())


def traceback_kept():
    def fail(n):
        if n:
            fail(n - 1)
        raise ValueError("deep")

    try:
        fail(5)
    except ValueError as error:
        kept = error
    rest()
    return kept.__traceback__


def group_chain():
    try:
        try:
            raise ValueError("cause")
        except ValueError as error:
            raise TypeError("effect") from error
    except TypeError:
        rest()


for scene in (
    in_except,
    in_finally_with_exception,
    in_finally_without,
    in_else,
    nested,
    after_except,
    generator_with_its_own,
    inside_generator_with_its_own,
    handler_calls_generator,
    traceback_kept,
    group_chain,
):
    start(scene)
