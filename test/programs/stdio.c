/* A server of HTTP, one connection after the other, that logs its requests by stdio: PORT LOG. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    FILE *log = fopen(arguments[2], "a");
    if (!log || fileno(log) < 0)
        return 3;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16))
        return 4;
    for (;;) {
        int client = accept(listener, NULL, NULL);
        char request[4096];
        for (ssize_t size; (size = read(client, request, sizeof request - 1)) > 0;) {
            request[size] = 0;
            char *end = strstr(request, " HTTP");
            if (end)
                *end = 0;
            fprintf(log, "%s by %s\n", request, "fprintf");
            fputs("by fputs\n", log);
            for (const char *at = "by putc\n"; *at; at++)
                putc(*at, log);
            /* Past the stream, by its descriptor. */
            if (write(fileno(log), "by write\n", 9) != 9)
                return 5;
            static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if (write(client, response, sizeof response - 1) < 0)
                break;
        }
        close(client);
    }
}
