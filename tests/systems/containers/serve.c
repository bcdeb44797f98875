/* The smallest program that serves: it answers every request on $GAAS_SERVE_SOCKET with the user that it runs as. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char request[65536], answer[256], said[64];
    int listening = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(address.sun_path, getenv("GAAS_SERVE_SOCKET"), sizeof address.sun_path - 1);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 8)) {
        perror("serve");
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        int caller = accept(listening, NULL, NULL);
        if (read(caller, request, sizeof request) > 0) {
            snprintf(said, sizeof said, "served by %d", (int)getuid());
            snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
                     (int)strlen(said), said);
            if (write(caller, answer, strlen(answer)) < 0)
                perror("serve");
        }
        close(caller);
    }
}
