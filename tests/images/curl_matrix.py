#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Images from web and FTP servers: our own small ones, some of which misbehave, and nginx.

usage: curl_matrix.py RHEA_IMG RHEA_IO RHEA_SYSTEM MODULE

Every case is one line of TAP.  Without MODULE (the build found no libcurl) all are skipped.
"""
import base64
import http.server
import json
import os
import random
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading

from command import fails, run, same_bytes
from tap import Skip, run_cases

RHEA_IMG, RHEA_IO, RHEA_SYSTEM, MODULE = (os.path.abspath(p) for p in sys.argv[1:5])
KIB, MIB = 1024, 1024 * 1024
SIZE = 3 * MIB + 3 * 512


# ---- the web server ----

class Web(http.server.BaseHTTPRequestHandler):
    """The first part of the path says how to behave; the rest is the file."""
    protocol_version = 'HTTP/1.1'
    requests = []
    release = threading.Event()

    def log_message(self, *args):
        pass

    def do_GET(self):
        _, mode, name = self.path.split('/', 2)
        Web.requests.append((mode, self.headers.get('Range'), self.headers.get('Cookie')))
        if mode == 'redirect':
            self.send_response(302)
            self.send_header('Location', f'/good/{name}')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        if mode == 'cookie' and self.headers.get('Cookie') != 'a=b':
            self.send_error(403)
            return
        if mode == 'auth' and self.headers.get('Authorization') != 'Basic ' + \
                base64.b64encode(b'alice:open sesame').decode():
            self.send_error(401)
            return
        if not os.path.exists(name):
            self.send_error(404)
            return
        with open(name, 'rb') as f:
            data = f.read()
        self.answer(mode, data)

    def answer(self, mode, data):
        match = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('Range', ''))
        first, last = (int(match[1]), min(int(match[2]), len(data) - 1)) if match else (0, 0)
        probing = match and match[2] == '0'
        if mode == 'noranges' or not match:
            self.send_response(200)
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:
                pass                     # it hung up, as it should
            self.close_connection = True
            return
        if first >= len(data):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(data)}')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        total, shown = len(data), first
        if not probing and mode == 'resized':
            total += 1
        if not probing and mode == 'wrongrange':
            shown += 1
        body = data[first:last + 1]
        if not probing and mode == 'toolong':
            body += b'more'
        if not probing and mode == 'silent':
            Web.release.wait(60)
        self.send_response(206)
        if mode != 'notold':
            self.send_header('Content-Range', f'bytes {shown}-{last}/' +
                             ('*' if mode == 'nototal' else str(total)))
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if not probing and mode == 'short':
            body = body[:len(body) // 2]
            self.close_connection = True
        self.wfile.write(body)


class Ftp(socketserver.StreamRequestHandler):
    """As much of RFC 959 and 3659 as reading a file takes."""

    def say(self, text):
        self.wfile.write(text.encode() + b'\r\n')

    def handle(self):
        rest, data = 0, None
        self.say('220 hello')
        while True:
            line = self.rfile.readline().decode().strip()
            verb, _, arg = line.partition(' ')
            verb = verb.upper()
            if not line or verb == 'QUIT':
                return
            if verb == 'USER':
                self.say('331 password')
            elif verb in ('PASS', 'TYPE', 'CWD'):
                self.say('200 fine')
            elif verb == 'PWD':
                self.say('257 "/"')
            elif verb == 'SIZE':
                self.say(f'213 {os.path.getsize(os.path.basename(arg))}'
                         if os.path.exists(os.path.basename(arg)) else '550 no')
            elif verb == 'REST':
                rest = int(arg)
                self.say('350 fine')
            elif verb == 'EPSV':
                data = socket.create_server(('127.0.0.1', 0))
                self.say(f'229 here (|||{data.getsockname()[1]}|)')
            elif verb == 'RETR':
                self.say('150 here it comes')
                conn, _ = data.accept()
                with open(os.path.basename(arg), 'rb') as f:
                    f.seek(rest)
                    try:
                        conn.sendall(f.read())
                    except OSError:
                        pass             # enough
                conn.close()
                data.close()
                rest = 0
                self.say('226 done')
            else:
                self.say('502 no')


class Quiet(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass                             # clients hang up in the middle


def serve(handler, wrap=None):
    s = Quiet(('127.0.0.1', 0), handler)
    if wrap:
        s.socket = wrap(s.socket)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s.server_address[1]


# ---- cases ----

def content(path, size, seed):
    with open(path, 'wb') as f:
        f.write(random.Random(seed).randbytes(size))
    return path


def case_convert(url, *how):
    run(RHEA_IMG, 'convert', *how, '-O', 'raw', f'{url}/src.raw', 'out.raw')
    same_bytes('src.raw', 'out.raw')


def case_qcow2(url):
    run(RHEA_IMG, 'convert', '-f', 'raw', '-O', 'qcow2', '-c', 'src.raw', 'src.qcow2')
    run(RHEA_IMG, 'compare', '-f', 'raw', 'src.raw', f'{url}/src.qcow2')
    info = json.loads(run(RHEA_IMG, 'info', '--output=json', f'{url}/src.qcow2'))
    assert info['format'] == 'qcow2' and info['filename'] == f'{url}/src.qcow2', info


def case_backing(url):
    """A local overlay over a remote image."""
    run(RHEA_IMG, 'create', '-q', '-f', 'qcow2', '-b', f'{url}/src.raw', '-F', 'raw', 'top.qcow2')
    run(RHEA_IO, '-f', 'qcow2', '-c', 'write -P 1 4k 4k', '-c', 'read -P 1 4k 4k', 'top.qcow2')
    run(RHEA_IMG, 'convert', '-O', 'raw', 'top.qcow2', 'out.raw')
    with open('src.raw', 'rb') as f, open('out.raw', 'rb') as g:
        a, b = f.read(), g.read()
    assert b[4096:8192] == bytes([1]) * 4096 and a[:4096] == b[:4096] and a[8192:] == b[8192:len(a)]


def case_readahead(url):
    """Small reads one after the other become few requests."""
    Web.requests.clear()
    reads = [c for i in range(64) for c in ('-c', f'read {i * 4096} 4k')]
    run(RHEA_IO, '-r', '--image-opts', *reads,
        f'driver=raw,file.driver=http,file.url={url}/src.raw,file.readahead=128k')
    ranges = [r for _, r, _ in Web.requests]
    assert ranges == ['bytes=0-0', 'bytes=0-131071', 'bytes=131072-262143'], ranges


def case_cookie(url):
    url = url.replace('/good', '/cookie')
    assert '403' in fails(RHEA_IMG, 'info', f'{url}/src.raw')
    run(RHEA_IO, '-r', '--image-opts', '-c', 'read 0 4k',
        f'driver=raw,file.driver=http,file.url={url}/src.raw,file.cookie=a=b')


def case_secrets(url):
    """Passwords and cookies that are on no command line."""
    with open('pw', 'w', encoding='ascii') as f:
        f.write('open sesame')
    objects = ['--object', 'secret,id=pw,file=pw', '--object', 'secret,id=c,data=a=b']
    auth = f"driver=raw,file.driver=http,file.url={url.replace('/good', '/auth')}/src.raw"
    assert '401' in fails(RHEA_IMG, 'info', '--image-opts', auth)
    run(RHEA_IMG, 'convert', *objects, '--image-opts', '-O', 'raw',
        auth + ',file.username=alice,file.password-secret=pw', 'out.raw')
    same_bytes('src.raw', 'out.raw')
    err = fails(RHEA_IMG, 'info', '--image-opts', auth + ',file.password-secret=nope')
    assert 'nope' in err, err
    cookie = f"driver=raw,file.driver=http,file.url={url.replace('/good', '/cookie')}/src.raw"
    run(RHEA_IO, '-r', *objects, '--image-opts', '-c', 'read 0 4k', cookie + ',file.cookie-secret=c')
    err = fails(RHEA_IO, '-r', *objects, '--image-opts', '-c', 'read 0 4k',
                cookie + ',file.cookie-secret=c,file.cookie=a=b')
    assert 'both' in err, err


def case_empty(url):
    open('empty.raw', 'wb').close()
    info = json.loads(run(RHEA_IMG, 'info', '-f', 'raw', '--output=json', f'{url}/empty.raw'))
    assert info['virtual-size'] == 0, info


def case_hostile(url, mode, want):
    """One clear line, exit status 1, nothing made up."""
    bad = url.replace('/good', f'/{mode}')
    err = fails(RHEA_IMG, 'convert', '-f', 'raw', '-O', 'raw', f'{bad}/src.raw', 'out.raw')
    assert want in err, err


def case_timeout(url):
    bad = url.replace('/good', '/silent')
    err = fails(RHEA_IO, '-r', '--image-opts', '-c', 'read 0 4k',
                f'driver=raw,file.driver=http,file.url={bad}/src.raw,file.timeout=1')
    Web.release.set()
    assert 'failed: Input/output error' in err and 'timed out' in err, err


def case_bad_input(url, port):
    for opts, want in ((f'url={url}/src.raw,file.readahead=1000', '512'),
                       (f'url={url}/src.raw,file.timeout=100000', 'timeout'),
                       (f'url={url}/src.raw,file.nonsense=1', 'nonsense'),
                       (f'url={url}/src.raw,file.sslverify=off', 'sslverify'),
                       (f'url={url}/missing', '404'),
                       ('url=http://127.0.0.1:1/x', "Couldn't connect"),
                       ('url=ftp://127.0.0.1:1/x', "does not start with 'http://'")):
        err = fails(RHEA_IO, '-r', '--image-opts', '-c', 'read 0 4k',
                    f'driver=raw,file.driver=http,file.{opts}')
        assert want in err and err.count('\n') == 1, (opts, err)
    err = fails(RHEA_IO, '-f', 'raw', '-c', 'write 0 4k', f'{url}/src.raw')
    assert 'does not support writes' in err, err
    err = fails(RHEA_IMG, 'info', f'ftp://127.0.0.1:{port}/missing')
    assert 'missing' in err, err


def case_https(port):
    url = f'https://127.0.0.1:{port}/good/src.raw'
    assert 'certificate' in fails(RHEA_IMG, 'info', url)
    run(RHEA_IMG, 'convert', '--image-opts', '-O', 'raw',
        f'driver=raw,file.driver=https,file.url={url},file.sslverify=off', 'out.raw')
    same_bytes('src.raw', 'out.raw')


def case_emulator(url):
    """-drive file=http://..., seen by query-block."""
    path = os.path.abspath('qmp')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(60)
        p = subprocess.Popen([RHEA_SYSTEM, '-M', 'none', '-S', '-display', 'none', '-qmp',
                              'unix:' + path, '-drive',
                              f'file={url}/src.raw,if=none,id=d0,format=raw,read-only=on'],
                             stderr=subprocess.DEVNULL)
        conn, _ = listener.accept()
    f = conn.makefile('rw')
    f.readline()
    for command in ('qmp_capabilities', 'query-block', 'quit'):
        f.write(json.dumps({'execute': command}) + '\n')
        f.flush()
        answer = json.loads(f.readline())
        if command == 'query-block':
            image = [d for d in answer['return'] if d['device'] == 'd0'][0]['inserted']['image']
            assert image['filename'] == f'{url}/src.raw', image
    p.wait(60)


def nginx():
    if not shutil.which('nginx'):
        raise Skip('nginx is not installed')
    with socket.create_server(('127.0.0.1', 0)) as s:
        port = s.getsockname()[1]
    here = os.getcwd()
    os.makedirs('ng', exist_ok=True)
    with open('ng/conf', 'w', encoding='ascii') as f:
        f.write(f'pid {here}/ng/pid; error_log {here}/ng/log; events {{}}\n'
                f'http {{ access_log off; client_body_temp_path {here}/ng; proxy_temp_path {here}/ng;\n'
                f'fastcgi_temp_path {here}/ng; uwsgi_temp_path {here}/ng; scgi_temp_path {here}/ng;\n'
                f'server {{ listen 127.0.0.1:{port}; location / {{ root {here}; }} }} }}\n')
    # The workers run as another user.
    os.chmod(here, 0o755)
    os.chmod('src.raw', 0o644)
    run('nginx', '-c', f'{here}/ng/conf')    # listens when it returns
    return port


def case_nginx():
    port = nginx()
    try:
        case_convert(f'http://127.0.0.1:{port}')
        case_qcow2(f'http://127.0.0.1:{port}')
        with open('ng/pid', encoding='ascii') as f:
            pid = int(f.read())
    finally:
        run('nginx', '-c', f'{os.getcwd()}/ng/conf', '-s', 'stop')
    fd = os.pidfd_open(pid) if os.path.exists(f'/proc/{pid}') else None
    if fd is not None:
        os.close(fd)


def tls_context():
    if not shutil.which('certtool'):
        return None
    with open('cert.info', 'w', encoding='ascii') as f:
        f.write('cn = "127.0.0.1"\ntls_www_server\nsigning_key\n')
    run('certtool', '--generate-privkey', '--key-type', 'ecdsa', '--outfile', 'key.pem')
    run('certtool', '--generate-self-signed', '--load-privkey', 'key.pem', '--template', 'cert.info',
        '--outfile', 'cert.pem')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain('cert.pem', 'key.pem')
    return context


def case_https_if_possible():
    context = tls_context()
    if not context:
        raise Skip('certtool (package gnutls-bin) is not installed')
    case_https(serve(Web, lambda s: context.wrap_socket(s, server_side=True)))


def cases():
    web, ftp = serve(Web), serve(Ftp)
    url = f'http://127.0.0.1:{web}/good'
    yield 'convert from http', lambda: case_convert(url)
    yield 'convert by several coroutines', lambda: case_convert(url, '-m', '16', '-W')
    yield 'redirect', lambda: case_convert(url.replace('/good', '/redirect'))
    yield 'qcow2 over http', lambda: case_qcow2(url)
    yield 'backing file over http', lambda: case_backing(url)
    yield 'readahead', lambda: case_readahead(url)
    yield 'cookie', lambda: case_cookie(url)
    yield 'secrets', lambda: case_secrets(url)
    yield 'empty file', lambda: case_empty(url)
    for mode, want in (('noranges', "does not support 'range'"), ('nototal', 'size'),
                       ('notold', 'size'), ('resized', 'changed'), ('wrongrange', 'another range'),
                       ('toolong', 'more than'), ('short', 'error while reading')):
        yield f'server: {mode}', lambda: case_hostile(url, mode, want)
    yield 'timeout', lambda: case_timeout(url)
    yield 'convert from ftp', lambda: case_convert(f'ftp://127.0.0.1:{ftp}')
    yield 'https', case_https_if_possible
    yield 'bad input', lambda: case_bad_input(url, ftp)
    yield '-drive file=http://', lambda: case_emulator(url)
    yield 'nginx', case_nginx


def main():
    if not os.path.exists(MODULE):
        print('1..0 # SKIP the build found no libcurl')
        return 0
    for name in list(os.environ):
        if name.lower().endswith('_proxy'):
            del os.environ[name]
    return run_cases('curl', cases, lambda: content('src.raw', SIZE, 5))


sys.exit(main())
