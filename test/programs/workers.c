/*
 * workers PORT REDIS_PORT: the server of threaded.c as several processes: a master that makes WORKERS of them, which all
 * accept on one listener, and another one for each that ends. On SIGTERM it ends them, and exits with 0.
 */
#define main threaded_main
#include "threaded.c"
#undef main
#include <sys/prctl.h>
#include <sys/wait.h>

enum { WORKERS = 4 };

static volatile sig_atomic_t ended;

static void end(int signal) {
    (void)signal;
    ended = 1;
}

static pid_t work(int listener, pid_t master) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, SIG_DFL);
    if (getppid() != master) _exit(1);
    listen_and_accept((void *)(intptr_t)listener);
    _exit(1);
}

int main(int count, char **arguments) {
    if (count != 3) return threaded_main(count, arguments);
    redis_port = (uint16_t)atoi(arguments[2]);
    struct sigaction action = {.sa_handler = end};
    sigaction(SIGTERM, &action, NULL);
    struct sockaddr_in address = loopback((uint16_t)atoi(arguments[1]));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0) return 1;
    pid_t workers[WORKERS];
    for (int index = 0; index < WORKERS; index += 1) workers[index] = work(listener, getpid());
    while (!ended) {
        pid_t gone = waitpid(-1, NULL, 0);
        for (int index = 0; index < WORKERS && !ended; index += 1)
            if (gone > 0 && workers[index] == gone) workers[index] = work(listener, getpid());
    }
    for (int index = 0; index < WORKERS; index += 1) kill(workers[index], SIGTERM);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    return 0;
}
