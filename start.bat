@echo off
rem Start GaaS on this machine: make .venv, install what changed, run "manage.py up" with the arguments given.
setlocal
cd /d "%~dp0"
set VENV_PYTHON=.venv\Scripts\python.exe

if exist "%VENV_PYTHON%" goto install
set PYTHON=
for %%P in ("py -3.11" "py -3" "python") do (
    if not defined PYTHON (
        %%~P -c "import sys, venv; sys.exit(sys.version_info < (3, 11))" >nul 2>&1 && set PYTHON=%%~P
    )
)
if not defined PYTHON (
    echo GaaS needs Python 3.11 or later and found none: https://www.python.org/downloads/ 1>&2
    exit /b 1
)
echo Making .venv
%PYTHON% -m venv .venv || exit /b 1

:install
rem The stamp is the text of the requirements: another version of it installs again.
copy /b /y requirements.txt + gpus\agent\requirements.txt .venv\wanted.txt >nul
fc /b .venv\wanted.txt .venv\installed.txt >nul 2>&1 && goto run
echo Installing requirements.txt into .venv
"%VENV_PYTHON%" -m pip install --disable-pip-version-check --no-input --prefer-binary -r requirements.txt || exit /b 1
copy /b /y .venv\wanted.txt .venv\installed.txt >nul

:run
"%VENV_PYTHON%" manage.py up %*
