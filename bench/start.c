// What a start costs: start ROUNDS COMMAND ARG... runs the command ROUNDS times and prints the median in microseconds.
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static int ascending(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return (a > b) - (a < b);
}

int main(int count, char **arguments) {
  int rounds = count > 2 ? atoi(arguments[1]) : 0;
  double *times = calloc(rounds > 0 ? rounds : 1, sizeof *times);
  if (rounds < 1 || !times) return 2;
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
  for (int round = 0; round < rounds; round++) {
    struct timespec from, to;
    pid_t child;
    int status;
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (posix_spawnp(&child, arguments[2], &quiet, NULL, arguments + 2, environ)) return 2;
    if (waitpid(child, &status, 0) != child || status != 0) return 2;
    clock_gettime(CLOCK_MONOTONIC, &to);
    times[round] = (to.tv_sec - from.tv_sec) * 1e6 + (to.tv_nsec - from.tv_nsec) / 1e3;
  }
  qsort(times, rounds, sizeof *times, ascending);
  printf("%.1f\n", times[rounds / 2]);
  return 0;
}
