/* A process's first call on the network is under way while something else happens to it:
 *   starting fork COUNT PORT     another thread forks, and the child connects, too
 *   starting signal COUNT PORT   a signal handler connects, too
 * Tries it COUNT times, each in a process of its own; PORT is one on which something listens. Prints how many of
 * them hung. */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int port;

static void *talk(void *unused)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        send(fd, "PING\r\n", 6, MSG_NOSIGNAL);
    close(fd);
    return unused;
}

static void on_signal(int number)
{
    (void)number;
    talk(NULL);
}

static void during_fork(int delay)
{
    pthread_t thread;
    pthread_create(&thread, NULL, talk, NULL);
    usleep(delay);
    pid_t child = fork();
    if (child == 0) {
        alarm(3);
        talk(NULL);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    pthread_join(thread, NULL);
    _exit(WIFSIGNALED(status));
}

static void during_signal(int delay)
{
    alarm(3);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        usleep(100 + delay);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    talk(NULL);
    waitpid(child, NULL, 0);
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    int count = atoi(argv[2]), hung = 0;
    port = atoi(argv[3]);
    for (int at = 0; at < count; at++) {
        pid_t child = fork();
        if (child == 0)
            (strcmp(argv[1], "fork") == 0 ? during_fork : during_signal)(at * 7 % 300);
        int status = 0;
        waitpid(child, &status, 0);
        hung += status != 0;
    }
    printf("%d hung\n", hung);
    return 0;
}
