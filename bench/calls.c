// What a captured call costs: a connection of the program with itself, on which it sends and receives, timed in
// batches, with a rest between them in which the agent takes what was recorded: what is measured is the call, not how
// much the agent can take. Prints "SIZE CALLS COPY" a line, in nanoseconds, the lower quartiles of the batches: the time of a
// send and a receive of SIZE bytes together, and that of two copies of as many bytes into shared memory that is not in the
// processor's own cache, which is what whoever keeps the bytes has to do at least.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCHES = 200, LARGEST = 65536, SHARED = 8 << 20 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static int ascending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

static char buffer[LARGEST];
static char *shared;
static int out, in;

static void copy_twice(size_t size) {
  static size_t at;
  for (int copy = 0; copy < 2; copy++) {
    at = at + size > SHARED ? 0 : at;
    memcpy(shared + at, buffer, size);
    // As the log's records begin.
    at += (size + 63) & ~(size_t)63;
  }
}

static void pass(size_t size) {
  if (send(out, buffer, size, 0) != (ssize_t)size) fail("send");
  for (size_t got = 0; got < size;) {
    ssize_t count = recv(in, buffer + got, size - got, 0);
    if (count <= 0) fail("recv");
    got += count;
  }
}

static double measure(void (*step)(size_t), size_t size, int rounds) {
  double times[BATCHES];
  const struct timespec rest = {.tv_nsec = 4000000};
  for (int round = 0; round < rounds; round++) step(size);
  for (int batch = 0; batch < BATCHES; batch++) {
    nanosleep(&rest, NULL);
    step(size);
    double begun = now();
    for (int round = 0; round < rounds; round++) step(size);
    times[batch] = (now() - begun) / rounds;
  }
  qsort(times, BATCHES, sizeof *times, ascending);
  return times[BATCHES / 4];
}

int main(void) {
  shared = mmap(NULL, SHARED, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (shared == MAP_FAILED) fail("mmap");
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1)) fail("listen");
  if (getsockname(listener, (struct sockaddr *)&address, &length)) fail("getsockname");
  out = socket(AF_INET, SOCK_STREAM, 0);
  int room = 1 << 20, yes = 1;
  setsockopt(out, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  setsockopt(out, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(out, (struct sockaddr *)&address, sizeof address)) fail("connect");
  in = accept(listener, NULL, NULL);
  if (in < 0) fail("accept");
  setsockopt(in, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);

  static const size_t sizes[] = {1, 64, 256, 1024, 4096, 16384, LARGEST};
  for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
    size_t size = sizes[at];
    int rounds = size <= 1024 ? 200 : (int)(262144 / size);
    printf("%zu %.1f %.1f\n", size, measure(pass, size, rounds), measure(copy_twice, size, rounds));
  }
  return 0;
}
