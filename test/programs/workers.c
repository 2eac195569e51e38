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

static pid_t work(int listener, pid_t master, const sigset_t *signals) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* What it was sent since the fork ends it now. */
    sigprocmask(SIG_UNBLOCK, signals, NULL);
    if (getppid() != master) _exit(1);
    listen_and_accept((void *)(intptr_t)listener);
    _exit(1);
}

int main(int count, char **arguments) {
    if (count != 3) return threaded_main(count, arguments);
    redis_port = (uint16_t)atoi(arguments[2]);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    struct sockaddr_in address = loopback((uint16_t)atoi(arguments[1]));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0) return 1;
    pid_t workers[WORKERS];
    for (int index = 0; index < WORKERS; index += 1) workers[index] = work(listener, getpid(), &signals);
    for (int signal = 0; sigwait(&signals, &signal) == 0 && signal != SIGTERM;) {
        for (pid_t gone; (gone = waitpid(-1, NULL, WNOHANG)) > 0;)
            for (int index = 0; index < WORKERS; index += 1)
                if (workers[index] == gone) workers[index] = work(listener, getpid(), &signals);
    }
    for (int index = 0; index < WORKERS; index += 1) kill(workers[index], SIGTERM);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    return 0;
}
