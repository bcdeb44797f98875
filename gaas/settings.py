"""Settings of every process, read from the environment. `.env.example` lists each name with its meaning."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import environ
from corsheaders.defaults import default_headers
from django.templatetags.static import static

from gaas import document

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))

# --- Where it lives -----------------------------------------------------------------------------
DEBUG = env.bool("DEBUG", default=False)
GAAS_HOME = Path(env.str("GAAS_HOME", default=str(BASE_DIR / "var"))).resolve()
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY and (GAAS_HOME / "secret_key").is_file():
    SECRET_KEY = (GAAS_HOME / "secret_key").read_text().strip()
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
# An empty key stops every command that signs anything; `up` makes one and keeps it in GAAS_HOME.

BASE_URL = env.str("BASE_URL", default="http://127.0.0.1:8000").rstrip("/")
FRONTEND_URL = env.str("FRONTEND_URL", default=BASE_URL).rstrip("/")
LIVE_URL = env.str("LIVE_URL", default="").rstrip("/")
LIVE_INTERNAL_URL = env.str("LIVE_INTERNAL_URL", default="").rstrip("/")
_base = urlsplit(BASE_URL)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[_base.hostname or "127.0.0.1", "localhost", "127.0.0.1", "[::1]"])
IS_HTTPS = _base.scheme == "https"
CSRF_TRUSTED_ORIGINS = sorted({f"{urlsplit(u).scheme}://{urlsplit(u).netloc}" for u in (BASE_URL, FRONTEND_URL)})
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)

# --- Applications -------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.forms",
    "unfold.contrib.simple_history",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "corsheaders",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "django_dramatiq",
    "allauth",
    "allauth.account",
    "allauth.socialaccount",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.headless",
    "axes",
    "csp",
    "simple_history",
    "gaas",
    "gaas.audit",
    "gaas.outbox",
    "accounts.ledger",
    "accounts",
    "gpus",
    "payments",
    "tasks",
]

MIDDLEWARE = [
    "gaas.csp.PolicyMiddleware",
    "gaas.middleware.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "gaas.middleware.SlashOptional",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.pages.middleware.Gate",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
APPEND_SLASH = False
ROOT_URLCONF = "gaas.urls"
WSGI_APPLICATION = "gaas.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- Database -----------------------------------------------------------------------------------
DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{GAAS_HOME / 'gaas.sqlite3'}")}
DATABASE_DIRECT_URL = env.str("DATABASE_DIRECT_URL", default="")
_db = DATABASES["default"]
_db["ATOMIC_REQUESTS"] = False
_options = _db.setdefault("OPTIONS", {})
if _db["ENGINE"].endswith("sqlite3"):
    # DEFERRED fails at once on read-then-write under load; IMMEDIATE waits its turn.
    _options.setdefault("transaction_mode", "IMMEDIATE")
    _options.setdefault("timeout", 20)
    _options.setdefault(
        "init_command",
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
    )
elif _db["ENGINE"].endswith("postgresql"):
    if env.bool("DATABASE_POOL", default=True):
        _options.setdefault(
            "pool",
            {"min_size": 1, "max_size": env.int("DATABASE_POOL_SIZE", default=16), "timeout": 20},
        )
    # Compiling a plan costs more than any query of this application takes.
    _options.setdefault("options", "-c jit=off -c random_page_cost=1.1")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Messages between processes -------------------------------------------------------------------
BROKER_URL = env.str("BROKER_URL", default="memory://")
DRAMATIQ_AUTODISCOVER_MODULES = ["actors"]
from gaas.broker import REDIS_TIMEOUTS, dramatiq_broker  # noqa: E402

DRAMATIQ_BROKER = dramatiq_broker(BROKER_URL)

# --- Cache and mail -----------------------------------------------------------------------------
CACHES = {"default": env.cache_url("CACHE_URL", default="locmemcache://gaas")}
if CACHES["default"]["BACKEND"].endswith("RedisCache"):
    CACHES["default"]["OPTIONS"] = REDIS_TIMEOUTS | CACHES["default"].get("OPTIONS", {})
EMAIL_URL = env.str("EMAIL_URL", default="consolemail://")
vars().update(env.email_url_config(EMAIL_URL))
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"GaaS <gaas@{_base.hostname or 'localhost'}>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- Files ----------------------------------------------------------------------------------------
from gaas.lib.storage import backend as storage_backend  # noqa: E402

STORAGE_URL = env.str("STORAGE_URL", default="")
STORAGES = {
    "default": storage_backend(STORAGE_URL, GAAS_HOME),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STORAGE_QUOTA_MIB = env.int("STORAGE_QUOTA_MIB", default=51200)
MAX_FILE_MIB = env.int("MAX_FILE_MIB", default=20480)
MAX_UPLOADS = env.int("MAX_UPLOADS", default=10000)
MAX_ARTIFACTS = env.int("MAX_ARTIFACTS", default=1000)
UPLOAD_OPEN_SECONDS = env.float("UPLOAD_OPEN_SECONDS", default=86400)
UPLOAD_KEEP_SECONDS = env.float("UPLOAD_KEEP_SECONDS", default=2592000)
ARTIFACT_KEEP_SECONDS = env.float("ARTIFACT_KEEP_SECONDS", default=7776000)
CHECKPOINT_KEEP_SECONDS = env.float("CHECKPOINT_KEEP_SECONDS", default=86400)
CHECKPOINT_SECONDS = env.float("CHECKPOINT_SECONDS", default=300)
LOG_ARCHIVE_SECONDS = env.float("LOG_ARCHIVE_SECONDS", default=60)
LOG_KEEP_DAYS = env.float("LOG_KEEP_DAYS", default=0)

# --- Webhooks -------------------------------------------------------------------------------------
WEBHOOK_ALLOWED_NETWORKS = env.list("WEBHOOK_ALLOWED_NETWORKS", default=[])
WEBHOOK_ALLOW_HTTP = env.bool("WEBHOOK_ALLOW_HTTP", default=False)
WEBHOOK_CA_FILE = env.str("WEBHOOK_CA_FILE", default="")
WEBHOOK_SECONDS = env.float("WEBHOOK_SECONDS", default=10)
WEBHOOK_SENDERS = env.int("WEBHOOK_SENDERS", default=2)
WEBHOOKS_PER_ACCOUNT = env.int("WEBHOOKS_PER_ACCOUNT", default=20)
WEBHOOK_FAILING_DAYS = env.float("WEBHOOK_FAILING_DAYS", default=5)
WEBHOOK_KEEP_DAYS = env.float("WEBHOOK_KEEP_DAYS", default=30)

# --- People -------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "django.contrib.auth.hashers.Argon2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "/accounts/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
AUTHENTICATION_BACKENDS = [
    # First, so that whoever is locked out costs no password hash, whichever way the log-in came.
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
REGISTRATION = env.str("REGISTRATION", default="open")  # open | invite | domains | closed
REGISTRATION_DOMAINS = [domain.lower().lstrip("@") for domain in env.list("REGISTRATION_DOMAINS", default=[])]
REQUIRE_VERIFIED_EMAIL = env.bool("REQUIRE_VERIFIED_EMAIL", default=False)
STAFF_MFA = env.bool("STAFF_MFA", default=False)
MAIL_STAFF_APPROVALS = env.bool("MAIL_STAFF_APPROVALS", default=True)
APPROVAL_LINK_SECONDS = env.int("APPROVAL_LINK_SECONDS", default=259200)
PASSWORD_RESET_TIMEOUT = env.int("PASSWORD_RESET_SECONDS", default=3600)
GOOGLE_CLIENT_ID = env.str("GOOGLE_CLIENT_ID", default="")
GOOGLE_CLIENT_SECRET = env.str("GOOGLE_CLIENT_SECRET", default="")
GOOGLE_ISSUER = env.str("GOOGLE_ISSUER", default="https://accounts.google.com").rstrip("/")
WELCOME_HOURS = env.str("WELCOME_HOURS", default="10")
MAX_TASK_HOURS = env.str("MAX_TASK_HOURS", default="168")
ALLOW_SIMULATED = env.bool("ALLOW_SIMULATED", default=False)
PROLONG_STEP_SECONDS = env.float("PROLONG_STEP_SECONDS", default=3600.0)
PROLONG_AHEAD_SECONDS = env.float("PROLONG_AHEAD_SECONDS", default=900.0)
WALLET_LOW_USD = env.str("WALLET_LOW_USD", default="5")
HOURS_LOW = env.str("HOURS_LOW", default="1")
PLATFORM_FEE_PERCENT = env.str("PLATFORM_FEE_PERCENT", default="10")
PAYMENT_MIN_USD = env.str("PAYMENT_MIN_USD", default="1")
PAYMENT_MAX_USD = env.str("PAYMENT_MAX_USD", default="100000")
PAYMENT_EXPIRY_SECONDS = env.int("PAYMENT_EXPIRY_SECONDS", default=604_800)
MANUAL_PAYMENT_TO = env.str("MANUAL_PAYMENT_TO", default="").replace("\\n", "\n")
MANUAL_PAYMENT_LIMIT_USD = env.str("MANUAL_PAYMENT_LIMIT_USD", default="100")
STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
STRIPE_PUBLISHABLE_KEY = env.str("STRIPE_PUBLISHABLE_KEY", default="")
STRIPE_WEBHOOK_SECRETS = env.list("STRIPE_WEBHOOK_SECRETS", default=[])
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="")
CHAIN_RPC_URLS = env.list("CHAIN_RPC_URLS", default=[])
CHAIN_ID = env.int("CHAIN_ID", default=1)
CHAIN_RECEIVER = env.str("CHAIN_RECEIVER", default="")
CHAIN_TOKEN = env.str("CHAIN_TOKEN", default="")
CHAIN_SYMBOL = env.str("CHAIN_SYMBOL", default="USDC")
CHAIN_DECIMALS = env.int("CHAIN_DECIMALS", default=6)
CHAIN_USD = env.str("CHAIN_USD", default="1")
CHAIN_CONFIRMATIONS = env.int("CHAIN_CONFIRMATIONS", default=12)
PAYOUT_MIN_USD = env.str("PAYOUT_MIN_USD", default="10")
PAYOUT_FEE_USD = env.str("PAYOUT_FEE_USD", default="0")
PAYOUT_COOLDOWN_SECONDS = env.int("PAYOUT_COOLDOWN_SECONDS", default=259_200)
EARNINGS_DELAY_SECONDS = env.int("EARNINGS_DELAY_SECONDS", default=604_800)
# A contract's period that could not be paid is tried so often, so far apart, before the contract is suspended.
CONTRACT_TRIES = env.int("CONTRACT_TRIES", default=5)
CONTRACT_AWAY_PERIODS = env.int("CONTRACT_AWAY_PERIODS", default=2)
CONTRACT_RETRY_SECONDS = env.int("CONTRACT_RETRY_SECONDS", default=86_400)

SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=10),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=14),
    "ALGORITHM": "HS256",
    "SIGNING_KEY": SECRET_KEY,
    "AUDIENCE": "gaas",
    "ISSUER": "gaas",
    "UPDATE_LAST_LOGIN": False,
    "CHECK_REVOKE_TOKEN": True,
    "CHECK_USER_IS_ACTIVE": True,
    "USER_ID_CLAIM": "user_id",
}
REFRESH_GRACE_SECONDS = env.int("REFRESH_GRACE_SECONDS", default=10)

# Wrong log-ins are counted by accounts.services.lockout.
LOG_IN_FAILURES = env.int("LOG_IN_FAILURES", default=5)
LOG_IN_FAILURES_OF_ADDRESS = env.int("LOG_IN_FAILURES_OF_ADDRESS", default=50)
LOCK_SECONDS = env.int("LOCK_SECONDS", default=900)
AXES_HANDLER = "accounts.services.lockout.Handler"
AXES_FAILURE_LIMIT = "accounts.services.lockout.limit"
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"], "ip_address"]
AXES_COOLOFF_TIME = "accounts.services.lockout.cool_off"
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_RESET_ON_SUCCESS = True
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_USERNAME_CALLABLE = "accounts.services.lockout.name_of"
AXES_CLIENT_IP_CALLABLE = "accounts.services.lockout.address_of"
AXES_SENSITIVE_PARAMETERS = [
    *("password", "current_password", "new_password", "otp", "code", "token", "key"),
    *("credential", "id_token", "refresh", "csrfmiddlewaretoken"),
]
# Its middleware would answer the fifth wrong log-in as if it were the sixth.
SILENCED_SYSTEM_CHECKS = ["axes.W002"]

# Registration, letters, links and limits are our own; django-allauth keeps log-in stages and second factors.
ACCOUNT_ADAPTER = "accounts.pages.adapters.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_FORMS = {"login": "accounts.pages.forms.LogInForm"}
MFA_ADAPTER = "accounts.pages.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "authenticate": "accounts.pages.forms.CodeForm",
    "reauthenticate": "accounts.pages.forms.CodeAgainForm",
    "add_webauthn": "accounts.pages.forms.AddKeyForm",
    "authenticate_webauthn": "accounts.pages.forms.KeyFactorForm",
    "reauthenticate_webauthn": "accounts.pages.forms.KeyAgainForm",
}
MFA_TOTP_ISSUER = "GaaS"
MFA_TOTP_TOLERANCE = 1
# allauth looks into a table of addresses that is empty here: accounts.services.second_factor_changes asks.
MFA_ALLOW_UNVERIFIED_EMAIL = True
# accounts.services.security_keys looks at the origin; with https the library does so besides.
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_HTTPS
# The protocol for apps, of which accounts.api.app_client mounts what our own REST has not.
HEADLESS_CLIENTS = ("app",)
HEADLESS_TOKEN_STRATEGY = "accounts.services.app_log_in.TokenPairs"  # noqa: S105  a path
HEADLESS_ADAPTER = "accounts.pages.adapters.AppAdapter"
SOCIALACCOUNT_PROVIDERS: dict[str, dict[str, object]] = {}

# A version of a policy is to be read; going back to it is a change by the verbs like any other.
SIMPLE_HISTORY_REVERT_DISABLED = True

# --- Timers, in seconds (chaos tests divide them by twenty) ---------------------------------------
_scale = env.float("TIMER_SCALE", default=1.0)


def _timer(name: str, seconds: float) -> float:
    return env.float(name, default=seconds * _scale)


LEASE_SECONDS = _timer("LEASE_SECONDS", 60)
RECONNECT_SECONDS = _timer("RECONNECT_SECONDS", 300)
FENCE_MARGIN_SECONDS = _timer("FENCE_MARGIN_SECONDS", 30)
OFFER_SECONDS = _timer("OFFER_SECONDS", 60)
PREPARE_SECONDS = _timer("PREPARE_SECONDS", 1800)
QUEUED_SECONDS = _timer("QUEUED_SECONDS", 86_400)
SYNC_BUSY_SECONDS = _timer("SYNC_BUSY_SECONDS", 10)
SYNC_IDLE_SECONDS = _timer("SYNC_IDLE_SECONDS", 30)
WAIT_SECONDS = _timer("WAIT_SECONDS", 30)
SWEEP_SECONDS = _timer("SWEEP_SECONDS", 5)
CANCEL_GRACE_SECONDS = _timer("CANCEL_GRACE_SECONDS", 10)
HOST_COOL_DOWN_SECONDS = _timer("HOST_COOL_DOWN_SECONDS", 600)
IDLE_WARN_SECONDS = _timer("IDLE_WARN_SECONDS", 1800)
IDLE_END_SECONDS = _timer("IDLE_END_SECONDS", 3600)
IDLE_PERCENT = env.float("IDLE_PERCENT", default=5.0)
JOIN_TOKEN_SECONDS = env.float("JOIN_TOKEN_SECONDS", default=900)
TICKET_SECONDS = env.float("TICKET_SECONDS", default=300)
HEARTBEATS_AT_ONCE = env.int("HEARTBEATS_AT_ONCE", default=200)
SERVICE_BODY_BYTES = env.int("SERVICE_BODY_BYTES", default=32 * 1024 * 1024)
STREAM_SECONDS = env.float("STREAM_SECONDS", default=3600)
STREAM_SLOW_SECONDS = env.float("STREAM_SLOW_SECONDS", default=30)
STREAM_RIGHT_SECONDS = env.float("STREAM_RIGHT_SECONDS", default=30)
STREAMS_PER_USER = env.int("STREAMS_PER_USER", default=20)
IDEMPOTENCY_LOCK_SECONDS = env.float("IDEMPOTENCY_LOCK_SECONDS", default=60)
IDEMPOTENCY_KEEP_SECONDS = env.float("IDEMPOTENCY_KEEP_SECONDS", default=604800)
INFRA_RETRIES = env.int("INFRA_RETRIES", default=5)
POISON_HOSTS = env.int("POISON_HOSTS", default=3)
HOST_FAILURES = env.int("HOST_FAILURES", default=3)
MAX_LOG_BYTES = env.int("MAX_LOG_BYTES", default=64 * 1024 * 1024)
MAX_BODY_BYTES = env.int("MAX_BODY_BYTES", default=1024 * 1024)
DATA_UPLOAD_MAX_MEMORY_SIZE = 8 * 1024 * 1024

# --- API ----------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.api.authentication.KeyAuthentication",
        "accounts.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": [
        "gaas.lib.rest.parsers.StrictJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "gaas.lib.rest.renderers.BrowsableAPI",
    ],
    "DEFAULT_FILTER_BACKENDS": [
        "gaas.lib.rest.filters.StrictFilterBackend",
        "gaas.lib.rest.filters.StrictOrderingFilter",
    ],
    "DEFAULT_PAGINATION_CLASS": "gaas.lib.rest.pagination.KeysetPagination",
    "DEFAULT_SCHEMA_CLASS": "gaas.lib.rest.schema.Schema",
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.URLPathVersioning",
    "DEFAULT_VERSION": "v1",
    "ALLOWED_VERSIONS": ["v1"],
    "DEFAULT_THROTTLE_CLASSES": ["gaas.lib.rest.throttles.UserThrottle"],
    "DEFAULT_THROTTLE_RATES": {
        "user": env.str("THROTTLE_USER", default="1200/min"),
        "token": env.str("THROTTLE_TOKEN", default="10/min"),
        "token_address": env.str("THROTTLE_TOKEN_ADDRESS", default="60/min"),
        "register": env.str("THROTTLE_REGISTER", default="10/min"),
        "reset": env.str("THROTTLE_RESET", default="10/min"),
        "refresh": env.str("THROTTLE_REFRESH", default="60/min"),
        "invite": env.str("THROTTLE_INVITE", default="60/hour"),
        "quote": env.str("THROTTLE_QUOTE", default="120/min"),
        "join": env.str("THROTTLE_JOIN", default="60/min"),
        "webhook": env.str("THROTTLE_WEBHOOK", default="60/min"),
    },
    "NUM_PROXIES": TRUSTED_PROXIES,
    "EXCEPTION_HANDLER": "gaas.lib.rest.errors.exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = document.SETTINGS
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/(api|v1)/.*$"
CORS_ALLOW_HEADERS = [*default_headers, "idempotency-key", "x-session-token"]
CORS_EXPOSE_HEADERS = ["X-Request-ID", "X-Log-Next-Offset", "Retry-After", "ETag", "Idempotent-Replayed"]

# --- Transport security follows the scheme people use, not DEBUG -----------------------------------
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 31_536_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = IS_HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Language, static files, logs -----------------------------------------------------------------
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "gaas.formats"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(BASE_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "templates" / "assets"]
# Without collectstatic (`up`, tests) files are served from where the packages keep them.
warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)
WHITENOISE_USE_FINDERS = not STATIC_ROOT.is_dir()
WHITENOISE_AUTOREFRESH = DEBUG

from gaas.logs import logging_config  # noqa: E402

LOGGING_CONFIG = None
LOGGING = logging_config(level=env.str("LOG_LEVEL", default="INFO"), as_json=env.bool("LOG_JSON", default=not DEBUG))
import logging.config  # noqa: E402

logging.config.dictConfig(LOGGING)

from gaas.admin_menu import navigation as admin_navigation  # noqa: E402

UNFOLD = {
    "SITE_TITLE": "GaaS",
    "SITE_HEADER": "GaaS",
    "SITE_URL": "/",
    "SITE_SYMBOL": "memory",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": admin_navigation()},
    "DASHBOARD_CALLBACK": "gaas.dashboard.fill",
    "STYLES": [lambda request: static("gaas-admin.css")],
    # The green of the platform's own pages (gaas.css); white text is readable on it from 600 on.
    "COLORS": {
        "primary": {
            "50": "#edf9f4",
            "100": "#d2f1e4",
            "200": "#a8e4cd",
            "300": "#77d2b2",
            "400": "#5fd0a8",
            "500": "#23a37c",
            "600": "#0b6b50",
            "700": "#095a43",
            "800": "#084936",
            "900": "#06392b",
            "950": "#04231a",
        }
    },
}
