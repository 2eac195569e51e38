/*
 * threaded PORT REDIS_PORT: an HTTP server with a thread for each connection, which asks Redis once for each request,
 * on a connection that belongs to the thread. Also the subject of the benchmark.
 *
 *   GET /KEY  ->  Redis GET KEY  ->  200 "KEY=VALUE\n", or 404 where there is no such key, 502 where there is no Redis
 *
 * On SIGTERM or SIGINT it prints `served N`, the number of responses that it sent, and exits with 0.
 * REGRESSION=answer changes what it answers, REGRESSION=call what it asks Redis for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LARGEST = 16384 };

static atomic_ulong served;
static uint16_t redis_port;
static const char *answer_prefix = "";
static const char *key_suffix = "";

static struct sockaddr_in loopback(uint16_t port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        bytes += sent;
        length -= (size_t)sent;
    }
    return 0;
}

static ssize_t receive(int fd, char *bytes, size_t room) {
    ssize_t got;
    do got = recv(fd, bytes, room, 0);
    while (got < 0 && errno == EINTR);
    return got;
}

static int connect_redis(void) {
    struct sockaddr_in address = loopback(redis_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* The length of the value, which lies at *value within the buffer; -1 where there is none, -2 where Redis failed. */
static long ask_redis(int *fd, const char *key, char *buffer, size_t room, char **value) {
    if (*fd < 0 && (*fd = connect_redis()) < 0) return -2;
    int length = snprintf(buffer, room, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s%s\r\n", strlen(key) + strlen(key_suffix), key,
                          key_suffix);
    if (send_all(*fd, buffer, (size_t)length) == 0) {
        size_t have = 0;
        while (have < room - 1) {
            ssize_t got = receive(*fd, buffer + have, room - 1 - have);
            if (got <= 0) break;
            have += (size_t)got;
            buffer[have] = 0;
            char *end = strstr(buffer, "\r\n");
            if (!end) continue;
            if (buffer[0] != '$') break;
            long size = strtol(buffer + 1, NULL, 10);
            if (size < 0) return -1;
            *value = end + 2;
            if (have >= (size_t)(end + 2 - buffer) + (size_t)size + 2) return size;
        }
    }
    close(*fd);
    *fd = -1;
    return -2;
}

static int answer(int client, int *redis, char *request) {
    char key[256], reply[LARGEST], response[LARGEST + 512], *value = NULL;
    if (sscanf(request, "%*s /%255[^ ?]", key) != 1) strcpy(key, "index");
    long size = ask_redis(redis, key, reply, sizeof reply, &value);
    const char *status = size >= 0 ? "200 OK" : size == -1 ? "404 Not Found" : "502 Bad Gateway";
    size_t value_length = size >= 0 ? (size_t)size : 0;
    size_t body = strlen(answer_prefix) + strlen(key) + 1 + value_length + 1;
    size_t length = (size_t)snprintf(
        response, sizeof response,
        "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s%s=", status, body, answer_prefix, key);
    if (value_length > 0) memcpy(response + length, value, value_length);
    length += value_length;
    response[length++] = '\n';
    if (send_all(client, response, length) != 0) return -1;
    atomic_fetch_add_explicit(&served, 1, memory_order_relaxed);
    return 0;
}

static void *serve(void *argument) {
    int client = (int)(intptr_t)argument, redis = -1;
    char buffer[LARGEST];
    size_t have = 0;
    for (;;) {
        buffer[have] = 0;
        char *end = strstr(buffer, "\r\n\r\n");
        if (!end) {
            if (have == sizeof buffer - 1) break;
            ssize_t got = receive(client, buffer + have, sizeof buffer - 1 - have);
            if (got <= 0) break;
            have += (size_t)got;
            continue;
        }
        *end = 0;
        if (answer(client, &redis, buffer) != 0) break;
        size_t used = (size_t)(end + 4 - buffer);
        memmove(buffer, buffer + used, have - used);
        have -= used;
    }
    close(client);
    if (redis >= 0) close(redis);
    return NULL;
}

static void *listen_and_accept(void *argument) {
    int listener = (int)(intptr_t)argument;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    for (;;) {
        int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) continue;
        pthread_t thread;
        if (pthread_create(&thread, &attributes, serve, (void *)(intptr_t)client) != 0) close(client);
    }
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: %s PORT REDIS_PORT\n", arguments[0]);
        return 64;
    }
    redis_port = (uint16_t)atoi(arguments[2]);
    const char *regression = getenv("REGRESSION");
    if (regression && strcmp(regression, "answer") == 0) answer_prefix = "changed ";
    if (regression && strcmp(regression, "call") == 0) key_suffix = "0";

    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);

    struct sockaddr_in address = loopback((uint16_t)atoi(arguments[1]));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0) {
        perror("listen");
        return 1;
    }
    pthread_t acceptor;
    if (pthread_create(&acceptor, NULL, listen_and_accept, (void *)(intptr_t)listener) != 0) return 1;

    int signal;
    sigwait(&ends, &signal);
    printf("served %lu\n", atomic_load(&served));
    fflush(stdout);
    return 0;
}
