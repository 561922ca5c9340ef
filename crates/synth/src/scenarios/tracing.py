"""Functions that trace, profile or monitor, at rest inside them and below them."""


def in_trace_function():
    def trace(frame, event, argument):
        if frame.f_code is body.__code__ and event == "line":
            rest()
        return trace

    def body():
        value = 1
        return value

    sys.settrace(trace)
    body()
    sys.settrace(None)


def in_profile_function():
    def profile(frame, event, argument):
        if event == "c_call" and argument is len:
            rest()

    def body():
        return [len(()) for _ in range(1)]

    sys.setprofile(profile)
    body()
    sys.setprofile(None)


def below_trace_function():
    def trace(frame, event, argument):
        frame.f_trace_opcodes = True
        return trace

    def generate():
        yield 1
        rest()
        yield 2

    def body():
        for value in generate():
            value += sorted([1], key=lambda n: n)[0]

    sys.settrace(trace)
    body()
    sys.settrace(None)


def untraced():
    def body(n):
        return rest() if n == 0 else body(n - 1)

    body(3)


start(untraced)
for scene in (in_trace_function, in_profile_function, below_trace_function):
    start(scene)
