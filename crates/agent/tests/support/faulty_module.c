/* A PKCS #11 library in front of another one, whose answers a test can spoil.
 *
 * The file that VOUCHSAFE_FAULTS names holds one line: WHAT NUMBER HOW. WHAT is a function without its prefix, which then
 * returns NUMBER; or one of
 *   length-TYPE      the attribute TYPE (decimal) is said to have NUMBER octets
 *   hidden-TYPE      the attribute TYPE is sensitive
 *   token-flags      NUMBER is put into the flags of every token
 *   validation       the library is of version 3.2 and has a validation object of level NUMBER
 *   wrong-signature  the octet at NUMBER of a signature is another
 * HOW is once (the file is removed when it had its effect) or always. Every call of C_Login, C_Finalize and C_Sign is noted in
 * the file of that name with .log behind it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long ulong_t;
typedef ulong_t (*any_t)();

struct list {
    unsigned char version[2];
    any_t functions[68];
};

struct attribute {
    ulong_t type;
    void *value;
    ulong_t length;
};

enum {
    FINALIZE = 1,
    GET_INFO = 2,
    GET_SLOT_LIST = 4,
    GET_TOKEN_INFO = 6,
    OPEN_SESSION = 12,
    LOGIN = 18,
    DESTROY_OBJECT = 22,
    GET_ATTRIBUTE_VALUE = 24,
    FIND_OBJECTS_INIT = 26,
    FIND_OBJECTS = 27,
    FIND_OBJECTS_FINAL = 28,
    DECRYPT = 34,
    SIGN_INIT = 42,
    SIGN = 43,
    GENERATE_KEY_PAIR = 59,
};

static struct list *real;
static struct list spoiled;
/* How often the validation object is still to be found. */
static int validations;

#define VALIDATION_OBJECT 0x7ffffff1ul

static void note(const char *what) {
    const char *path = getenv("VOUCHSAFE_FAULTS");
    char name[4096];
    FILE *log;
    if (!path) return;
    snprintf(name, sizeof name, "%s.log", path);
    log = fopen(name, "a");
    if (!log) return;
    fprintf(log, "%s\n", what);
    fclose(log);
}

/* Whether the file names `what`, and then its number. */
static int is_to_fail(const char *what, ulong_t *number) {
    const char *path = getenv("VOUCHSAFE_FAULTS");
    char word[64] = "", how[16] = "";
    FILE *file;
    int fields;
    if (!path) return 0;
    file = fopen(path, "r");
    if (!file) return 0;
    fields = fscanf(file, "%63s %lu %15s", word, number, how);
    fclose(file);
    if (fields != 3 || strcmp(word, what) != 0) return 0;
    if (strcmp(how, "once") == 0) unlink(path);
    return 1;
}

static ulong_t finalize(void *reserved) {
    note("Finalize");
    return real->functions[FINALIZE](reserved);
}

static ulong_t get_info(unsigned char *info) {
    ulong_t number, result = real->functions[GET_INFO](info);
    if (is_to_fail("validation", &number)) {
        info[0] = 3;
        info[1] = 2;
    }
    return result;
}

static ulong_t get_token_info(ulong_t slot, unsigned char *info) {
    ulong_t flags, number, result;
    if (is_to_fail("GetTokenInfo", &number)) return number;
    result = real->functions[GET_TOKEN_INFO](slot, info);
    if (result == 0 && is_to_fail("token-flags", &number)) {
        /* After label, manufacturerID, model and serialNumber. */
        memcpy(&flags, info + 96, sizeof flags);
        flags |= number;
        memcpy(info + 96, &flags, sizeof flags);
    }
    return result;
}

static ulong_t open_session(ulong_t slot, ulong_t flags, void *application, void *notify, ulong_t *session) {
    ulong_t number;
    if (is_to_fail("OpenSession", &number)) return number;
    return real->functions[OPEN_SESSION](slot, flags, application, notify, session);
}

static ulong_t login(ulong_t session, ulong_t user, void *pin, ulong_t length) {
    ulong_t number;
    note("Login");
    if (is_to_fail("Login", &number)) return number;
    return real->functions[LOGIN](session, user, pin, length);
}

static ulong_t destroy_object(ulong_t session, ulong_t object) {
    ulong_t number;
    if (is_to_fail("DestroyObject", &number)) return number;
    return real->functions[DESTROY_OBJECT](session, object);
}

static void fill(struct attribute *attribute, const void *value, ulong_t length) {
    if (attribute->value && attribute->length >= length) memcpy(attribute->value, value, length);
    attribute->length = length;
}

/* CKA_VALIDATION_TYPE and what follows (PKCS #11 v3.2). */
static ulong_t validation_attribute(struct attribute *attribute, ulong_t level) {
    ulong_t one = 1;
    switch (attribute->type) {
        case 0x61f: fill(attribute, &one, sizeof one); return 0;
        case 0x620: fill(attribute, "\003", 2); return 0;
        case 0x621: fill(attribute, &level, sizeof level); return 0;
        case 0x622: fill(attribute, "Example HSM", 11); return 0;
        case 0x623: fill(attribute, &one, sizeof one); return 0;
        case 0x624: fill(attribute, &one, sizeof one); return 0;
        default: attribute->length = ~0ul; return 0x12;
    }
}

static ulong_t get_attribute_value(ulong_t session, ulong_t object, struct attribute *attributes, ulong_t count) {
    char name[64];
    ulong_t number, result, i;
    if (is_to_fail("GetAttributeValue", &number)) return number;
    if (object == VALIDATION_OBJECT && is_to_fail("validation", &number)) {
        result = 0;
        for (i = 0; i < count; i++) {
            ulong_t one = validation_attribute(&attributes[i], number);
            if (one) result = one;
        }
        return result;
    }
    result = real->functions[GET_ATTRIBUTE_VALUE](session, object, attributes, count);
    for (i = 0; i < count; i++) {
        snprintf(name, sizeof name, "length-%lu", attributes[i].type);
        if (is_to_fail(name, &number)) attributes[i].length = number;
        snprintf(name, sizeof name, "hidden-%lu", attributes[i].type);
        if (is_to_fail(name, &number)) {
            attributes[i].length = ~0ul;
            result = 0x11;
        }
    }
    return result;
}

static ulong_t find_objects_init(ulong_t session, struct attribute *template, ulong_t count) {
    ulong_t number, class;
    if (is_to_fail("FindObjectsInit", &number)) return number;
    validations = 0;
    if (count == 1 && template[0].type == 0 && is_to_fail("validation", &number)) {
        memcpy(&class, template[0].value, sizeof class);
        /* CKO_VALIDATION */
        if (class == 10) validations = 1;
    }
    return real->functions[FIND_OBJECTS_INIT](session, template, count);
}

static ulong_t find_objects(ulong_t session, ulong_t *objects, ulong_t most, ulong_t *count) {
    if (validations && most > 0) {
        validations = 0;
        objects[0] = VALIDATION_OBJECT;
        *count = 1;
        return 0;
    }
    return real->functions[FIND_OBJECTS](session, objects, most, count);
}

static ulong_t decrypt(ulong_t session, void *data, ulong_t length, void *out, ulong_t *out_length) {
    ulong_t number;
    if (is_to_fail("Decrypt", &number)) return number;
    return real->functions[DECRYPT](session, data, length, out, out_length);
}

static ulong_t sign_init(ulong_t session, void *mechanism, ulong_t key) {
    ulong_t number;
    if (is_to_fail("SignInit", &number)) return number;
    return real->functions[SIGN_INIT](session, mechanism, key);
}

static ulong_t sign(ulong_t session, void *data, ulong_t length, unsigned char *out, ulong_t *out_length) {
    ulong_t number, result;
    if (is_to_fail("Sign", &number)) return number;
    result = real->functions[SIGN](session, data, length, out, out_length);
    if (out) {
        note("Sign");
        if (result == 0 && is_to_fail("wrong-signature", &number)) out[number] ^= 1;
    }
    return result;
}

static ulong_t generate_key_pair(ulong_t session, void *mechanism, void *public, ulong_t publics, void *private,
                                 ulong_t privates, ulong_t *public_key, ulong_t *private_key) {
    ulong_t number;
    if (is_to_fail("GenerateKeyPair", &number)) return number;
    return real->functions[GENERATE_KEY_PAIR](session, mechanism, public, publics, private, privates, public_key,
                                              private_key);
}

ulong_t C_GetFunctionList(struct list **out) {
    void *library;
    ulong_t (*original)(struct list **);
    if (!real) {
        library = dlopen(REAL_MODULE, RTLD_NOW | RTLD_LOCAL);
        if (!library) return 5;
        *(void **)&original = dlsym(library, "C_GetFunctionList");
        if (!original || original(&real)) return 5;
        spoiled = *real;
        spoiled.functions[FINALIZE] = (any_t)finalize;
        spoiled.functions[GET_INFO] = (any_t)get_info;
        spoiled.functions[GET_TOKEN_INFO] = (any_t)get_token_info;
        spoiled.functions[OPEN_SESSION] = (any_t)open_session;
        spoiled.functions[LOGIN] = (any_t)login;
        spoiled.functions[DESTROY_OBJECT] = (any_t)destroy_object;
        spoiled.functions[GET_ATTRIBUTE_VALUE] = (any_t)get_attribute_value;
        spoiled.functions[FIND_OBJECTS_INIT] = (any_t)find_objects_init;
        spoiled.functions[FIND_OBJECTS] = (any_t)find_objects;
        spoiled.functions[DECRYPT] = (any_t)decrypt;
        spoiled.functions[SIGN_INIT] = (any_t)sign_init;
        spoiled.functions[SIGN] = (any_t)sign;
        spoiled.functions[GENERATE_KEY_PAIR] = (any_t)generate_key_pair;
    }
    *out = &spoiled;
    return 0;
}
