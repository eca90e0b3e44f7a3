/* style.h - how the page looks, in pieces that fit markup_put(). Colours after Okabe and Ito's, which those who do not see red
 * and green apart tell apart, darker on light ground and lighter on dark. */
#ifndef REPORT_STYLE_H
#define REPORT_STYLE_H

static const char *const report_style[] = {
    ":root{color-scheme:light dark;--ground:#f6f7f9;--card:#fff;--ink:#1a2027;--soft:#5b6673;--line:#dfe3e8;--grid:#e8ebef;"
    "--accent:#0b62a8;--mark:#ffe9a8;--good:#0a7a50;--bad:#b3400a;"
    "--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b8659b;--c4:#a57c00;--c5:#3a9bd1;--c6:#6a51a3;--c7:#7a8591}"
    "@media(prefers-color-scheme:dark){:root{--ground:#12161b;--card:#1a2027;--ink:#e6eaee;--soft:#98a4b0;--line:#2c353f;--grid:#262e37;"
    "--accent:#6cb6f0;--mark:#5a4a12;--good:#43c48e;--bad:#f08a4b;"
    "--c0:#56a9e8;--c1:#f08a4b;--c2:#35c79a;--c3:#dd93c0;--c4:#e0b83a;--c5:#8cc9f0;--c6:#a893e0;--c7:#8d98a4}}",
    "*{box-sizing:border-box}html{scroll-behavior:smooth;-webkit-text-size-adjust:100%}"
    "body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    "header,main,footer{max-width:1120px;margin:0 auto;padding:0 20px}"
    "header{padding-top:34px}.kind{margin:0;color:var(--accent);font-weight:600;letter-spacing:.04em;font-size:14px}"
    "h1{margin:2px 0 0;font-size:36px;line-height:1.15;letter-spacing:-.02em;overflow-wrap:anywhere}.sub{margin:6px 0 18px;color:var(--soft)}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:12px;margin-bottom:18px}"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px}"
    ".tile b{display:block;font-size:25px;line-height:1.25;font-weight:650;letter-spacing:-.01em}.tile span{color:var(--soft);font-size:14px}",
    "nav{display:flex;flex-wrap:wrap;gap:6px 18px;padding:12px 0;border-top:1px solid var(--line);font-size:14.5px}"
    "a{color:var(--accent);text-decoration:none}a:hover,a:focus-visible{text-decoration:underline}"
    "section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:20px 22px 22px;margin:0 0 18px;scroll-margin-top:12px}"
    "h2{margin:0;font-size:21px;letter-spacing:-.01em}h3{margin:20px 0 6px;font-size:17px}h3 small{font-weight:400;color:var(--soft);font-size:14px}"
    "h4{margin:0 0 2px;font-size:14px}.says{margin:3px 0 14px;color:var(--soft);max-width:75ch}"
    ".missing{margin:6px 0;padding:10px 14px;border:1px dashed var(--line);border-radius:8px;color:var(--soft)}"
    ".problems{border-color:var(--bad)}.problems ul{margin:8px 0 0;padding-left:20px;overflow-wrap:anywhere}",
    ".plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,420px),1fr));gap:14px 26px;align-items:start}"
    "figure{margin:0;min-width:0}figure.wide{grid-column:1/-1}figcaption{font-weight:600;font-size:15px;margin-bottom:2px}"
    "svg{display:block;width:100%;height:auto;font:13px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;overflow:visible}"
    "svg text{fill:var(--soft)}svg .axis path{stroke:var(--soft);fill:none;stroke-width:1}svg .axis .grid{stroke:var(--grid)}"
    "svg .axis .zero{stroke:var(--soft)}svg .name{font-size:12.5px}svg .guide{stroke:var(--soft);stroke-dasharray:3 4;fill:none}"
    "svg .line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}svg .line.dashed{stroke-dasharray:6 5;stroke-width:1.4}svg .line.faint{stroke-opacity:.28;stroke-width:1.1}"
    "svg .whisker{fill:none;stroke-width:1.6;stroke:var(--ink)}svg .dot{fill-opacity:.8}svg .hover{fill-opacity:0}svg circle:hover{fill-opacity:1}"
    "svg .hit{fill:transparent}svg .bar:hover .hit{fill:var(--grid)}svg .bar text{fill:var(--ink)}svg .value{font-variant-numeric:tabular-nums}"
    ".note{margin:4px 0 0;color:var(--soft);font-size:14px}"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:0 0 4px;padding:0;font-size:14px;color:var(--soft)}"
    ".legend i,.swatch{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:6px}.legend i.dashed{height:3px;vertical-align:4px}",
    ".l0{stroke:var(--c0)}.l1{stroke:var(--c1)}.l2{stroke:var(--c2)}.l3{stroke:var(--c3)}.l4{stroke:var(--c4)}.l5{stroke:var(--c5)}"
    ".l6{stroke:var(--c6)}.l7{stroke:var(--c7)}"
    ".f0{fill:var(--c0);background:var(--c0)}.f1{fill:var(--c1);background:var(--c1)}.f2{fill:var(--c2);background:var(--c2)}"
    ".f3{fill:var(--c3);background:var(--c3)}.f4{fill:var(--c4);background:var(--c4)}.f5{fill:var(--c5);background:var(--c5)}"
    ".f6{fill:var(--c6);background:var(--c6)}.f7{fill:var(--c7);background:var(--c7)}",
    ".scroll{overflow-x:auto;margin:0 -4px}table{border-collapse:collapse;font-size:14.5px;width:100%}caption{text-align:left;font-weight:600;padding:4px}"
    "th,td{padding:6px 10px 6px 4px;text-align:right;border-bottom:1px solid var(--grid);font-variant-numeric:tabular-nums;white-space:nowrap;vertical-align:top}"
    "th{font-weight:500}thead th{color:var(--soft);font-size:13.5px}th:first-child,td:first-child,th.text,td.text,th[scope=row]{text-align:left}"
    "td small{color:var(--soft)}table.texts td.text{white-space:pre-wrap;overflow-wrap:anywhere;min-width:180px}table.texts th{text-align:left}"
    "tr.holds td:first-child{color:var(--good)}tr.fails td:first-child,tr.fails th{color:var(--bad);font-weight:600}"
    ".verdict{margin:4px 0 8px;padding:10px 14px;border-radius:8px;border:1px solid var(--line);border-left-width:5px}"
    ".verdict.holds{border-left-color:var(--good)}.verdict.fails{border-left-color:var(--bad)}"
    "code,pre{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,monospace;font-size:13px;overflow-wrap:anywhere}"
    "pre{overflow-x:auto;margin:8px 0 0;line-height:1.45}",
    "details{border-top:1px solid var(--grid);padding:8px 0}details:first-of-type{border-top:0}"
    "summary{cursor:pointer;padding:4px 0 6px}summary span{color:var(--soft)}"
    ".sample{border-top:1px solid var(--grid);padding:14px 0}.sample:first-of-type{border-top:0;padding-top:2px}"
    ".text{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}.prompt{margin:0 0 8px;font-weight:600}"
    ".answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,210px),1fr));gap:10px}"
    ".answer{background:var(--ground);border-radius:8px;padding:9px 12px}.answer p{margin:0;font-size:15px}.answer h4 span{font-weight:400;color:var(--soft)}"
    ".cut{color:var(--bad)}mark{background:var(--mark);color:inherit;border-radius:3px;padding:0 1px}"
    "footer{color:var(--soft);font-size:14px;padding:4px 20px 40px}"
    "@media(max-width:520px){header,main,footer{padding-left:12px;padding-right:12px}section{padding:16px 14px}h1{font-size:29px}"
    ".tiles{grid-template-columns:1fr 1fr}svg{font-size:14.5px}figure.wide{overflow-x:auto}figure.wide svg{min-width:720px}}"
    "@media print{section{break-inside:avoid}nav{display:none}}",
};

#endif
