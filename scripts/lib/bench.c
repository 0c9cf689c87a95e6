/* What scripts/bench runs in its containers and on the host, one static program under several names, so that the start of
 * a process weighs nothing:
 *
 *   true                         ends at once
 *   idle                         waits for SIGTERM
 *   flood BYTES                  writes that many bytes in lines of 100, then waits for SIGTERM
 *   serve PORT                   for each connection: reads one byte; 'd' is answered by zeros without end, else by one byte
 *   download ADDRESS PORT SECS   takes zeros and prints Gbit/s
 *   connect ADDRESS PORT SECS    connects, asks, is answered, closes; prints how often in a second, over 8 threads
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, LINE = 100, BUFFER = 64000 };

static char buffer[1 << 18];

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void end(int signal) {
    (void)signal;
    _exit(0);
}

static void idle(void) {
    signal(SIGTERM, end);
    for (;;)
        pause();
}

static void flood(long left) {
    signal(SIGTERM, end);
    memset(buffer, 'x', BUFFER);
    for (int at = LINE - 1; at < BUFFER; at += LINE)
        buffer[at] = '\n';
    while (left > 0) {
        ssize_t written = write(1, buffer, left < BUFFER ? left : BUFFER);
        if (written < 0)
            fail("write");
        left -= written;
    }
    idle();
}

static struct sockaddr_in address(const char *host, const char *port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    inet_pton(AF_INET, host, &name.sin_addr);
    return name;
}

static void *answer(void *argument) {
    int connection = (int)(long)argument;
    char asked;
    if (read(connection, &asked, 1) == 1) {
        if (asked == 'd')
            while (write(connection, buffer, sizeof buffer) > 0)
                ;
        else if (write(connection, "!", 1) != 1)
            perror("answer");
    }
    close(connection);
    return NULL;
}

static void serve(const char *port) {
    signal(SIGTERM, end);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in name = address("0.0.0.0", port);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&name, sizeof name) || listen(listener, 1024))
        fail("listen");
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0)
            continue;
        char asked;
        /* A short exchange is answered here; a thread would weigh more than the relay that is measured. */
        if (recv(connection, &asked, 1, MSG_PEEK) == 1 && asked == 'd') {
            pthread_t thread;
            if (pthread_create(&thread, NULL, answer, (void *)(long)connection))
                fail("pthread_create");
            pthread_detach(thread);
        } else {
            answer((void *)(long)connection);
        }
    }
}

static int dial(const struct sockaddr_in *name, char question) {
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0 || connect(connection, (const struct sockaddr *)name, sizeof *name))
        fail("connect");
    if (write(connection, &question, 1) != 1)
        fail("ask");
    return connection;
}

static void download(struct sockaddr_in name, double length) {
    int connection = dial(&name, 'd');
    double begun = seconds(), passed;
    unsigned long bytes = 0;
    do {
        ssize_t taken = read(connection, buffer, sizeof buffer);
        if (taken <= 0)
            fail("read");
        bytes += taken;
        passed = seconds() - begun;
    } while (passed < length);
    printf("%.3f\n", bytes * 8 / passed / 1e9);
}

struct caller {
    pthread_t thread;
    struct sockaddr_in name;
    double until;
    unsigned long answered;
};

static void *call(void *argument) {
    struct caller *caller = argument;
    while (seconds() < caller->until) {
        char reply;
        int connection = dial(&caller->name, '?');
        if (read(connection, &reply, 1) != 1)
            fail("answer");
        close(connection);
        caller->answered++;
    }
    return NULL;
}

static void callers(struct sockaddr_in name, double length) {
    struct caller all[THREADS];
    unsigned long answered = 0;
    double begun = seconds();
    for (int i = 0; i < THREADS; i++) {
        all[i] = (struct caller){.name = name, .until = begun + length};
        if (pthread_create(&all[i].thread, NULL, call, &all[i]))
            fail("pthread_create");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(all[i].thread, NULL);
        answered += all[i].answered;
    }
    printf("%.1f\n", answered / (seconds() - begun));
}

int main(int count, char **words) {
    const char *base = strrchr(words[0], '/');
    const char *name = base ? base + 1 : words[0];
    if (!strcmp(name, "true"))
        return 0;
    if (!strcmp(name, "idle"))
        idle();
    else if (!strcmp(name, "flood") && count == 2)
        flood(atol(words[1]));
    else if (!strcmp(name, "serve") && count == 2)
        serve(words[1]);
    else if (!strcmp(name, "download") && count == 4)
        download(address(words[1], words[2]), atof(words[3]));
    else if (!strcmp(name, "connect") && count == 4)
        callers(address(words[1], words[2]), atof(words[3]));
    else
        return 2;
    return 0;
}
