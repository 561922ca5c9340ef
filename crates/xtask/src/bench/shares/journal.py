# A service that notes what it does: short Python calls around a short system call for each record.
import collections, logging
kept = collections.deque(maxlen=500)
class Keep(logging.Handler):
    def emit(self, record): kept.append(self.format(record))
class Busy(logging.Filter):
    def filter(self, record): return record.levelno > logging.DEBUG
log = logging.getLogger("mill.wheel")
log.propagate = False
keep = Keep()
keep.addFilter(Busy())
keep.setFormatter(logging.Formatter("%(levelname)-8s %(name)s[%(process)d] %(message)s"))
log.addHandler(keep)
def serve(number): log.error("sack %d weighs %s", number, number % 50)
print("ready", flush=True)
while True:
    for number in range(500): serve(number)
