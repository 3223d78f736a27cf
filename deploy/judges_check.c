// Judges that are scripts: what can be known of one without running it.
//
// The program itself was looked for with the recipe (common/recipe/disk.c); its first argument is a
// file only where the program is an interpreter. Python is asked what the script imports, since a
// missing package is what a new judge fails by most often.
#include "deploy/judges_check.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FOUND = 100, TEXT = 400 }; // FOUND: the exit code of `asked` when it has a sentence

/// Compiles the script, and looks for the modules that it imports at its top level.
static const char asked[] =
    "import ast, importlib.util, os, sys\n"
    "path = sys.argv[1]\n"
    "sys.path[0] = os.path.dirname(os.path.abspath(path))\n"
    "def fail(text):\n"
    "    print(text)\n"
    "    sys.exit(100)\n"
    "try:\n"
    "    with open(path, 'rb') as file:\n"
    "        text = file.read()\n"
    "    body = ast.parse(text).body\n"
    "except SyntaxError as error:\n"
    "    fail(f'line {error.lineno}: {error.msg}')\n"
    "for node in body:\n"
    "    names = [name.name for name in node.names] if isinstance(node, ast.Import) else []\n"
    "    if isinstance(node, ast.ImportFrom) and node.level == 0:\n"
    "        names = [node.module]\n"
    "    for name in names:\n"
    "        if b'sys.path' in text and name not in ('zmq', 'msgpack'):\n"
    "            continue\n" // the script says where it looks for modules of its own
    "        if importlib.util.find_spec(name.split('.')[0]) is None:\n"
    "            fail(f\"line {node.lineno}: there is no module '{name}': install it (zmq and \"\n"
    "                 \"msgpack: the packages python3-zmq and python3-msgpack)\")\n";

/// Whether the program runs a script that is its first argument.
static bool is_interpreter(const char *program)
{
    static const char *const names[] = {"python", "bash", "sh", "node", "perl", "ruby", "Rscript"};
    const char *slash = strrchr(program, '/');
    const char *name = slash != NULL ? slash + 1 : program;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t length = strlen(names[i]);
        // with or without a version: python3, python3.11
        if (strncmp(name, names[i], length) == 0 &&
            name[length + strspn(name + length, "0123456789.")] == '\0') {
            return true;
        }
    }
    return false;
}

/// The script of an interpreter's command line; NULL: none, or it cannot be told (options).
static const char *script_of(const tr_texts_t *exec)
{
    return exec->count > 1 && is_interpreter(exec->items[0]) && exec->items[1][0] != '-'
               ? exec->items[1]
               : NULL;
}

/// The first line of what the child says, until it ends: a pipe that is closed earlier would fail
/// it.
static void read_line(char *text, int from)
{
    char rest[TEXT];
    size_t length = 0;
    ssize_t got;
    do {
        char *to = length < TEXT - 1 ? text + length : rest;
        got = read(from, to, length < TEXT - 1 ? TEXT - 1 - length : TEXT);
        length += to != rest && got > 0 ? (size_t)got : 0;
    } while (got > 0);
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/// Runs `asked` on the script. text: [TEXT], what it said, one line. Its exit code; -1: it did not
/// run.
static int ask_python(char *text, const char *python, const char *script)
{
    char *const words[] = {(char *)python, (char *)"-c", (char *)asked, (char *)script, NULL};
    int ends[2], how = -1;
    pid_t child;
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    bool started = posix_spawnp(&child, python, &actions, NULL, words, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    read_line(text, ends[0]);
    close(ends[0]);
    return started && waitpid(child, &how, 0) == child && WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static tr_status check_script(const tr_texts_t *exec, tr_error_t *err)
{
    const char *script = script_of(exec), *python = exec->items[0];
    char text[TEXT];
    if (script == NULL) {
        return TR_OK;
    }
    if (access(script, R_OK) != 0) {
        return tr_fail(err, TR_ERR_IO, "cannot read the script '%s': %s", script, strerror(errno));
    }
    // another interpreter, or a Python that cannot be asked, is left to the run
    if (strstr(python, "python") != NULL && ask_python(text, python, script) == FOUND) {
        return tr_fail(err, TR_ERR_ARGUMENT, "'%s' would fail: %s", script, text);
    }
    return TR_OK;
}

tr_status judges_check(const tr_recipe_t *recipe, tr_error_t *err)
{
    const tr_judges_t *judges = &recipe->roles.reward;
    for (size_t i = 0; i < judges->count; i++) {
        if (judges->items[i].kind == &tr_judge_exec &&
            check_script(&((const tr_exec_judge_t *)judges->items[i].options)->exec, err) !=
                TR_OK) {
            return tr_error_prefix(err, "roles.reward.%zu.exec", i);
        }
    }
    return TR_OK;
}
