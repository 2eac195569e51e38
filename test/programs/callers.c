/*
 * callers PORT COUNT: asks an HTTP server COUNT times on loopback, each time on a connection of its own, which it resets
 * (so that the machine does not run out of ports), from a few threads. Prints how often it was answered.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 4 };

static struct sockaddr_in address;
static atomic_long left, answered;

static int call(long number) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), done = 0;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (fd < 0) return 0;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        char text[512];
        int length = snprintf(text, sizeof text, "GET /n%ld HTTP/1.1\r\nHost: localhost\r\n\r\n", number);
        size_t have = 0;
        if (send(fd, text, (size_t)length, MSG_NOSIGNAL) == length) {
            /* The head ends with an empty line, the body with a newline. */
            while (!done && have < sizeof text - 1) {
                ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);
                if (got <= 0) break;
                have += (size_t)got;
                text[have] = 0;
                char *body = strstr(text, "\r\n\r\n");
                done = body && body[4] && text[have - 1] == '\n';
            }
        }
    }
    close(fd);
    return done;
}

static void *run(void *argument) {
    (void)argument;
    for (long number; (number = atomic_fetch_sub(&left, 1)) > 0;)
        if (call(number)) atomic_fetch_add(&answered, 1);
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3) return 64;
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)atoi(arguments[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    left = atol(arguments[2]);
    pthread_t threads[THREADS];
    for (int index = 0; index < THREADS; index += 1)
        if (pthread_create(&threads[index], NULL, run, NULL) != 0) return 1;
    for (int index = 0; index < THREADS; index += 1) pthread_join(threads[index], NULL);
    printf("%ld\n", atomic_load(&answered));
    return 0;
}
