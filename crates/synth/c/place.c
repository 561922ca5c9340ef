/* Starts a program somewhere else.
 *
 *     place [-n] [-r ROOT] [-w PATH] [-u UID:GID] PROGRAM [ARGUMENT...]
 *
 * -n  in mount and pid namespaces of its own, with its own /proc: the program becomes a child
 *     (process 1 there), and place waits for it and ends as it ended
 * -r  with ROOT as its root: by pivot_root with -n, as a container, otherwise by chroot
 * -w  with PATH (in the new root's view) mounted read-only; needs -n
 * -u  as this user and group, with no other groups
 *
 * Ends with 125 when the program could not be started.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int failed, const char *what)
{
    if (failed) {
        fprintf(stderr, "place: %s: %s\n", what, strerror(errno));
        exit(125);
    }
}

static void pivot(const char *root)
{
    check(mount(root, root, NULL, MS_BIND | MS_REC, NULL), "bind the root");
    check(chdir(root), "enter the root");
    check(syscall(SYS_pivot_root, ".", ".") != 0, "pivot_root");
    check(umount2(".", MNT_DETACH), "detach the old root");
    check(chdir("/"), "enter /");
}

/* In the new namespaces, or waiting for the child that is. */
static void separate(void)
{
    check(unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare");
    pid_t child = fork();
    check(child < 0, "fork");
    if (child > 0) {
        int status;
        while (waitpid(child, &status, 0) < 0)
            check(errno != EINTR, "wait");
        if (WIFSIGNALED(status))
            exit(128 + WTERMSIG(status));
        exit(WEXITSTATUS(status));
    }
    check(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
}

int main(int argc, char **argv)
{
    int own = 0, option;
    const char *root = NULL, *read_only = NULL, *user = NULL;
    while ((option = getopt(argc, argv, "+nr:w:u:")) != -1) {
        switch (option) {
        case 'n': own = 1; break;
        case 'r': root = optarg; break;
        case 'w': read_only = optarg; break;
        case 'u': user = optarg; break;
        default: return 125;
        }
    }
    if (optind == argc || (read_only && !own)) {
        fprintf(stderr, "usage: place [-n] [-r ROOT] [-w PATH] [-u UID:GID] PROGRAM [ARGUMENT...]\n");
        return 125;
    }
    if (own)
        separate();
    if (own && root)
        pivot(root);
    else if (root)
        check(chroot(root) || chdir("/"), "chroot");
    if (own)
        check(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "mount /proc");
    if (read_only) {
        check(mount(read_only, read_only, NULL, MS_BIND, NULL), "bind");
        check(mount(NULL, read_only, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), "remount");
    }
    if (user) {
        char *rest;
        uid_t uid = strtoul(user, &rest, 10);
        gid_t gid = *rest == ':' ? strtoul(rest + 1, NULL, 10) : uid;
        check(setgroups(0, NULL) || setgid(gid) || setuid(uid), "become the user");
    }
    /* After the change of user, which would clear it. */
    if (own)
        check(prctl(PR_SET_PDEATHSIG, SIGKILL), "tie to the parent");
    execv(argv[optind], argv + optind);
    check(1, argv[optind]);
}
