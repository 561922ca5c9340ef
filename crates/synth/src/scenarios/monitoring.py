"""`sys.monitoring`: instrumented code, at rest inside a callback and below it."""

EVENTS = sys.monitoring.events
NAMES = ["PY_START", "PY_RETURN", "PY_YIELD", "CALL", "LINE", "INSTRUCTION", "JUMP"]
FREE = iter((3, 4, 1, 2))


def monitored(event):
    tool = next(FREE)
    sys.monitoring.use_tool_id(tool, "scene " + event)

    def callback(*arguments):
        rest()

    def body(n):
        total = 0
        for value in (generated(x) for x in range(n)):
            total += value
        return total

    def generated(value):
        return value

    sys.monitoring.register_callback(tool, getattr(EVENTS, event), callback)
    for function in (body, generated):
        sys.monitoring.set_local_events(tool, function.__code__, getattr(EVENTS, event))

    def scene():
        body(2)

    start(scene, "in_callback_of_" + event)


for event in ("CALL", "LINE", "INSTRUCTION", "PY_RETURN"):
    monitored(event)


def below():
    def body(n):
        for value in range(n):
            if value:
                rest()

    tool = 5
    with LOCK:
        if sys.monitoring.get_tool(tool) is None:
            sys.monitoring.use_tool_id(tool, "below")
    sys.monitoring.set_local_events(tool, body.__code__, sum(getattr(EVENTS, name) for name in NAMES))
    body(2)


LOCK = threading.Lock()
start(below)
