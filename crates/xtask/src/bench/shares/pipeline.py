# A pipeline of generators over a file: left and right never meet in a stack.
import os, tempfile
file = tempfile.TemporaryFile("w+")
file.writelines("%d;%s;%d\n" % (n, "wxyz"[n % 4], n * 7 % 13) for n in range(300))
def left_lines():
    file.seek(0)
    for line in file: yield line
def left_fields(lines): return (line.rstrip().split(";") for line in lines)
def left_rows(fields):
    for one, two, three in fields: yield left_row(one, two, three)
def left_row(one, two, three): return int(one), two, int(three)
def left(): return sum(row[2] for row in left_rows(left_fields(left_lines())))
def right_blocks():
    file.seek(0)
    while block := file.read(256): yield block
def right_words(blocks):
    for block in blocks: yield from right_split(block)
def right_split(block): return block.split(";")
def right(): return sum(len(word) for word in right_words(right_blocks()))
print("ready", flush=True)
while True: left(); right()
